"""Names that come with data are text: dbt's templates, SQL and all other readers keep them."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from app.failure import FailureCause
from app.lakehouse.publish import publish
from app.sql.quoting import quoted
from app.warehouse.dbt.project import DbtProject
from app.warehouse.definitions import DefinedModel
from app.warehouse.engine import ExtraColumn, Materialization, ModelSpec
from tests.dbt_command import dbt
from tests.harnesses.dbt_models import defined
from tests.harnesses.warehouse import WarehouseHarness, unique
from tests.payloads import CANARY, JINJA, PAYLOADS

BRACES = """'{' || '\r\n {' AS brace, '{}' AS "{} {" """
CAST = "sum(1) OVER () AS total, NULL AS nothing"
"""No table holds these as they are: the engines cast, which names every column in the SQL."""
CAST_ROW = {"total": 1, "nothing": None}
NUMBERED = {text: number for number, text in enumerate(PAYLOADS)}


@pytest.fixture(scope="module")
async def named(harness: WarehouseHarness) -> str:
    """Create a table whose columns and struct fields are named after every text."""
    table = pa.table({**{text: [n] for text, n in NUMBERED.items()}, "fields": [NUMBERED]})
    return await silver(harness, unique("named"), table)


async def silver(harness: WarehouseHarness, name: str, table: pa.Table) -> str:
    def write(catalog: Any) -> None:
        reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
        publish.replace_table(catalog, f"silver.{name}", reader, run_id=uuid4().hex)

    await harness.lakehouse.catalog.run(write)
    return f"silver.{name}"


async def test_every_name_of_a_column_and_field_arrives_as_it_is(
    harness: WarehouseHarness, named: str
) -> None:
    name = unique("names")
    await harness.built(name, f"SELECT *, {CAST} FROM {named}")
    assert await harness.rows(name) == [{**as_named(harness), **CAST_ROW}]


async def test_the_project_shows_dbt_every_text_and_has_it_read_none(
    harness: WarehouseHarness, named: str, tmp_path: Path
) -> None:
    lowered = harness.target.dialect == "trino"
    # dbt-trino's MERGE doubles no quote in a column's name, and splits its list at commas.
    keys = [text for text in PAYLOADS if not (lowered and set(text) & {'"', ","})]
    keyed = await silver(harness, unique("keyed"), pa.table({t: [NUMBERED[t]] for t in keys}))
    dashed = await silver(harness, unique("dashed-table"), pa.table({"a": [1]}))
    schema, _, table = dashed.partition(".")
    specs = [
        spec(
            f"SELECT *, sum(1) OVER () AS total FROM {named}",
            description="\n".join(PAYLOADS),
            tags=PAYLOADS,
            owner=JINJA[1],
            extra_columns=tuple(ExtraColumn(name=f"extra_{text}", value=text) for text in PAYLOADS),
        ),
        spec(
            f"SELECT * FROM {keyed}",
            materialization=Materialization.INCREMENTAL,
            unique_key=[text.lower() if lowered else text for text in keys],
            description=JINJA[0] + "\n",
        ),
        spec(f'SELECT a, {BRACES} FROM {schema}."{table}" -- {{'),
    ]
    await harness.built(specs[1].name, f"SELECT * FROM {keyed}")  # dbt merges into it
    project = DbtProject(
        lake=harness.lakehouse.lake,
        target=harness.target,
        sql_guard=harness.sql_guard,
        project_dir=tmp_path,
        profiles_dir=tmp_path,
    )

    async def models() -> list[DefinedModel]:
        return list(map(defined, specs))

    project.follow(models)
    await project.open()
    try:
        await project.write()
        await dbt("build", tmp_path)
    finally:
        await project.close()

    whole, merged, texts = [await harness.rows(spec.name) for spec in specs]
    extra = {f"extra_{t.lower() if lowered else t}": t for t in PAYLOADS}
    assert whole == [{**as_named(harness), "total": 1, **extra}]
    assert merged == [{t.lower() if lowered else t: NUMBERED[t] for t in keys}]
    assert texts == [{"a": 1, "brace": "{\r\n {", "{} {": "{}"}]
    nodes = json.loads((tmp_path / "target" / "manifest.json").read_text())["nodes"]
    told = {node["name"]: node for node in nodes.values()}
    assert told.keys() == {spec.name for spec in specs}
    for model in specs:
        node = told[model.name]
        assert node["description"] == model.description
        assert sorted(node["tags"]) == sorted(model.tags)
        assert node["meta"] == {"owner": model.owner}
        assert (node["config"]["unique_key"] or []) == [quoted(key) for key in model.unique_key]
    assert CANARY not in (tmp_path / "target" / "manifest.json").read_text()


def as_named(harness: WarehouseHarness) -> dict[str, Any]:
    """The row of `named`; Trino's names have no capitals."""
    if harness.target.dialect == "trino":
        return {text.lower(): n for text, n in NUMBERED.items()} | {"fields": NUMBERED}
    return {**NUMBERED, "fields": NUMBERED}


def spec(sql: str, **more: Any) -> ModelSpec:
    return ModelSpec(schema_name="gold", name=unique("spec"), sql=sql, **more)


@pytest.mark.parametrize(
    "increment",
    [
        {"incremental_strategy": "append"},
        {"incremental_strategy": "merge", "unique_key": ("id",)},
        {"incremental_strategy": "delete_insert", "unique_key": ("id",)},
    ],
    ids=lambda increment: increment["incremental_strategy"],
)
async def test_a_second_spelling_of_a_column_is_refused(
    harness: WarehouseHarness, increment: dict[str, Any]
) -> None:
    source, name = unique("spelled"), unique("spelled")
    model = {"materialization": "incremental", **increment}
    await silver(harness, source, pa.table({"Id": [1], "v": ["a"]}))
    await harness.built(name, f"SELECT * FROM silver.{source}", **model)
    await silver(harness, source, pa.table({"ID": [2], "v": ["b"]}))
    run = await harness.build(name, f"SELECT * FROM silver.{source}", **model)
    assert run.failure is not None
    assert run.failure.cause is FailureCause.SQL_ERROR
    assert [list(row.values()) for row in await harness.rows(name)] == [[1, "a"]]
