"""Names that come with data are text: dbt's templates, SQL and all others take them as they are."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from app.warehouse import publish
from tests.conftest import Lakehouse
from tests.embedded.warehouse_world import World, open_world, unique
from tests.payloads import CANARY, PAYLOADS


@pytest.fixture(scope="module")
async def world(
    lakehouse: Lakehouse, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    async with open_world(lakehouse, tmp_path_factory.mktemp("names")) as world:
        yield world


async def silver(world: World, table: pa.Table) -> str:
    name = unique("named")

    def write(catalog: Any) -> None:
        reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
        publish.replace_table(catalog, f"silver.{name}", reader, run_id=uuid4().hex)

    await world.lakehouse.catalog.run(write)
    return f"silver.{name}"


async def test_every_name_of_a_column_arrives_as_it_is(world: World) -> None:
    given = {name: [number] for number, name in enumerate(PAYLOADS)}
    table = await silver(world, pa.table(given))
    name = unique("names")
    # The sum is wider than any column of a table, so every column is cast, by its name.
    await world.built(name, f"SELECT *, sum(1) OVER () AS total FROM {table}")
    [row] = await world.rows(name)
    assert row == {**{name: number for name, [number] in given.items()}, "total": 1}
    assert CANARY not in str(row)
