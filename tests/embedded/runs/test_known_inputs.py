"""A run names the snapshot of an input only if that is certainly the one that it read."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from app.lakehouse.catalog import Catalog
from app.lakehouse.publish import publish
from app.runs.inputs import known_inputs
from app.runs.model import RunInput, RunState
from tests.harnesses.warehouse import builders, computing, unique, warehouse_harness
from tests.patience import until


async def write(catalog: Catalog, table: str, *values: int) -> RunInput:
    rows = pa.table({"n": values})

    def replaced(client: Any) -> None:
        reader = pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches())
        publish.replace_table(client, table, reader, run_id=uuid4().hex)

    await catalog.run(replaced)
    return RunInput.of(await catalog.table(table), "main")


@pytest.fixture
def table() -> str:
    return f"silver.{unique('read')}"


async def test_inputs_that_stay_as_they_were_keep_their_snapshots(lakehouse, table) -> None:
    read = await write(lakehouse.catalog, table, 1)
    files = RunInput(table="bronze/flights", run_ids=("a1",))
    assert read.snapshot_id is not None
    assert await known_inputs(lakehouse.catalog, [read, files]) == (read, files)


async def test_an_input_that_was_replaced_has_no_snapshot(lakehouse, table) -> None:
    read = await write(lakehouse.catalog, table, 1)
    await write(lakehouse.catalog, table, 2)
    [known] = await known_inputs(lakehouse.catalog, [read])
    assert (known.table, known.table_uuid) == (table, read.table_uuid)
    assert (known.snapshot_id, known.metadata_location) == (None, None)


async def test_an_input_that_was_dropped_has_no_snapshot(lakehouse, table) -> None:
    read = await write(lakehouse.catalog, table, 1)
    await lakehouse.catalog.drop_table(table)
    assert [known.snapshot_id for known in await known_inputs(lakehouse.catalog, [read])] == [None]


async def test_a_catalog_that_does_not_answer_is_no_error_after_a_commit(lakehouse, table) -> None:
    read = await write(lakehouse.catalog, table, 1)
    unreachable = replace(
        lakehouse.lake, catalog=replace(lakehouse.lake.catalog, uri="http://127.0.0.1:1/iceberg")
    )
    [known] = await known_inputs(Catalog(unreachable), [read])
    assert known.snapshot_id is None


async def test_a_run_does_not_name_a_snapshot_that_was_replaced_while_it_read(
    lakehouse, table, tmp_path
) -> None:
    await write(lakehouse.catalog, table, 1)
    name = unique("tab")
    sql = f"SELECT count(*) AS n FROM {table}, silver.wh_numbers a, silver.wh_numbers b"
    async with warehouse_harness(lakehouse, tmp_path) as harness:
        run = await harness.start(name, f"{sql} WHERE b.n < 5000")
        await until(lambda: computing(harness, run))
        for process in builders(harness):
            process.suspend()
        await write(lakehouse.catalog, table, 1, 2)
        for process in builders(harness):
            process.resume()
        ended = await harness.runs.wait(run.run_id, 120)
    assert ended.state is RunState.SUCCEEDED, ended.failure
    snapshots = {read.table: read.snapshot_id for read in ended.inputs}
    assert snapshots[table] is None
    assert snapshots["silver.wh_numbers"] is not None
