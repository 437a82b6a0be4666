"""Whatever a column of the data is called and whatever a text in it holds, a build keeps both."""

from uuid import uuid4

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog

from app.lakehouse.publish import publish
from tests.harnesses.warehouse import WarehouseHarness, unique
from tests.payloads import CANARY, PAYLOADS

BUILDS = 12
FRAGMENTS = (*PAYLOADS, "{{", "}}", "{%", "%}", "{#", "#}", "raw", "endraw", "-", "\\", "'", '"')
characters = st.characters(exclude_categories=("Cs", "Cc"))
texts = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(characters)), min_size=1, max_size=5)
names = texts.map(lambda parts: "".join(parts).lower()).filter(lambda name: name.strip() != "")


@settings(
    max_examples=BUILDS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(names, min_size=1, max_size=20, unique_by=str.casefold))
async def test_every_name_and_every_text_survives_a_build(
    harness: WarehouseHarness, called: list[str]
) -> None:
    raw, built = f"silver.{unique('raw')}", unique("any")
    row = {name: f"{name} of {number}" for number, name in enumerate(called)}
    data = pa.Table.from_pylist([row])

    def write(catalog: Catalog) -> None:
        publish.replace_table(catalog, raw, data.to_reader(), run_id=uuid4().hex)

    await harness.lakehouse.catalog.run(write)
    # The engine casts one column, for which it writes every name into the SQL.
    await harness.built(built, f"SELECT *, sum(1) OVER () AS total FROM {raw}")
    found = await harness.rows(built)
    assert found == [{**row, "total": 1}]
    assert CANARY not in str(found)
