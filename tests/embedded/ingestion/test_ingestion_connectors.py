"""The visible results of a sync, with every engine."""

from uuid import uuid4

import pytest

from app.airbyte.engine import (
    DestinationDraft,
    Ingestion,
    IngestionChange,
    IngestionDraft,
    IngestionStatus,
    Source,
    SyncMode,
)
from app.errors import Conflict, InvalidBody
from app.runs.model import RunState
from tests.harnesses.ingestion import (
    CALLER,
    INCREMENTAL,
    IngestionHarness,
    make,
    stream,
)
from tests.patience import until
from tests.payloads import FORMATS, HTML, JINJA, SHELL, SQL, YAML

SECRET = "tr0ub4dor-and-3"


async def test_records_are_typed_by_their_schema(harness: IngestionHarness) -> None:
    toy = await make(harness, rows=4)
    run = await toy.sync()
    assert run.state is RunState.SUCCEEDED, run.failure
    columns = 'n, "at"::VARCHAR, odd, "inner", typeof(n), typeof("at"), typeof(odd)'
    rows = sorted(await harness.rows(toy.path, columns))
    kinds = ("BIGINT", "TIMESTAMP WITH TIME ZONE", "BIGINT")
    assert rows[0] == (1, "2024-02-29 12:00:00.5+00", 1, '{"of":[1]}', *kinds)
    assert rows[2][2] is None


async def test_streams_and_check_come_from_the_connector(harness: IngestionHarness) -> None:
    source = await harness.source("toy", rows=1, stream="a")
    streams = await harness.service.streams(source.id)
    assert [s.name for s in streams] == ["a", "a_more"]
    assert streams[0].sync_modes == (
        SyncMode.FULL_REFRESH_OVERWRITE,
        SyncMode.FULL_REFRESH_APPEND,
        SyncMode.INCREMENTAL_APPEND,
    )
    assert (streams[0].primary_key, streams[0].cursor) == ((("n",),), ("n",))
    assert (await harness.service.check_source(source.id, CALLER)).succeeded
    unlucky = await harness.source("toy", rows=13, stream="a", password=SECRET)
    check = await harness.service.check_source(unlucky.id, CALLER)
    assert not check.succeeded
    assert "13 is bad luck" in check.message
    assert SECRET not in check.message


@pytest.mark.parametrize("text", [JINJA[1], f"{YAML[1]}{SQL[1]}{FORMATS[3]}{SHELL[0]}{HTML[0]}"])
async def test_a_stream_name_may_be_any_text(harness: IngestionHarness, text: str) -> None:
    toy = await make(harness, rows=2, stream=text)
    assert [s.name for s in await harness.service.streams(toy.ingestion.source_id)] == [
        text,
        f"{text}_more",
    ]
    run = await toy.sync()
    assert run.state is RunState.SUCCEEDED, run.failure
    assert run.output is not None
    assert [s.stream for s in run.output.streams] == [text]
    assert await toy.rows() == [1, 2]


async def test_a_config_is_checked_against_the_connectors_spec(harness: IngestionHarness) -> None:
    before = await harness.service.sources()
    for config, why in (
        ({"stream": "a"}, "rows"),
        ({"stream": "a", "rows": SECRET}, "rows"),
        ({"stream": "a", "rows": -1}, "minimum"),
        ({"stream": "a", "rows": 1, "rowz": SECRET}, "additionalProperties"),
    ):
        with pytest.raises(InvalidBody) as refused:
            await harness.source("toy", **config)
        assert why in refused.value.detail
        assert SECRET not in str(refused.value.__dict__)
    assert await harness.service.sources() == before


async def test_an_incremental_sync_continues_where_the_last_one_ended(
    harness: IngestionHarness,
) -> None:
    toy = await make(harness, INCREMENTAL, rows=25)
    first = await toy.sync()
    second = await toy.sync()
    assert await toy.rows() == list(range(1, 26))
    assert [run.output.rows_written for run in (first, second) if run.output] == [25, 0]


async def test_an_unfinished_sync_is_never_visible(harness: IngestionHarness) -> None:
    toy = await make(harness, rows=50, hang_after=45)
    run = await toy.start()
    await until(harness.reading)
    bronze = await harness.manifests.resolve(toy.path)
    assert bronze is not None
    assert bronze.files == (), "the path belongs to the ingestion before it has a file"
    await harness.runs.cancel(run.run_id, CALLER)
    assert (await harness.runs.wait(run.run_id, 30)).state is RunState.CANCELLED
    assert await toy.rows() == []


async def test_an_overwriting_sync_replaces_and_an_appending_one_adds(
    harness: IngestionHarness,
) -> None:
    for mode, seen in (
        (SyncMode.FULL_REFRESH_OVERWRITE, [1, 2, 3]),
        (SyncMode.FULL_REFRESH_APPEND, [1, 1, 2, 2, 3, 3]),
    ):
        toy = await make(harness, mode, rows=3)
        runs = [await toy.sync(), await toy.sync()]
        assert await toy.rows() == seen
        assert [run.output.rows for run in runs if run.output] == [3, len(seen)]


async def test_a_failed_sync_says_why(harness: IngestionHarness) -> None:
    toy = await make(harness, INCREMENTAL, rows=50, fail_after=45)
    for _ in range(2):
        failed = await toy.sync()
        assert failed.state is RunState.FAILED
        assert failed.failure is not None
        assert "no more after 45" in failed.failure.message
        assert failed.engine_state == "failed"
        assert await toy.rows() == []


async def test_a_cancelled_sync_ends_what_it_had_started(harness: IngestionHarness) -> None:
    toy = await make(harness, rows=10, hang_after=5)
    run = await toy.start()
    await until(harness.reading)
    await harness.runs.cancel(run.run_id, CALLER)
    over = await harness.runs.wait(run.run_id, 30)
    assert (over.state, over.engine_state) == (RunState.CANCELLED, "cancelled")
    await until(harness.at_rest)


async def test_a_running_sync_is_joined_and_locks_its_ingestion(harness: IngestionHarness) -> None:
    toy = await make(harness, rows=10, hang_after=5)
    first = await toy.start()
    second = await toy.start()
    assert second.run_id == first.run_id
    change = IngestionChange(streams=(stream(f"{toy.ingestion.streams[0].name}_more"),))
    for refused in (
        harness.service.delete_ingestion(toy.ingestion.id, CALLER),
        harness.service.update_ingestion(toy.ingestion.id, change, CALLER),
    ):
        with pytest.raises(Conflict) as conflict:
            await refused
        assert conflict.value.members["conflicting_id"] == first.run_id
    await harness.runs.cancel(first.run_id, CALLER)
    await harness.runs.wait(first.run_id, 30)


async def test_reconciling_finds_the_result_of_a_sync(harness: IngestionHarness) -> None:
    toy = await make(harness, rows=3)
    run = await toy.sync()
    settled = await harness.engine.reconcile_sync(run, toy.ingestion.id)
    assert settled is not None
    assert settled.output == run.output


async def test_two_ingestions_never_write_one_path(harness: IngestionHarness) -> None:
    toy = await make(harness, rows=1)
    name = toy.ingestion.streams[0].name
    other = await harness.source("toy", rows=2, stream=name)
    with pytest.raises(Conflict) as conflict:
        await harness.ingestion(other, stream(name))
    assert conflict.value.members["conflicting_id"] == toy.ingestion.id
    more = await harness.ingestion(other, stream(f"{name}_more"))
    change = IngestionChange(streams=(stream(name),))
    with pytest.raises(Conflict):
        await harness.service.update_ingestion(more.id, change, CALLER)


async def sink_at(harness: IngestionHarness, path: str) -> str:
    config = {
        "s3_bucket_name": harness.lakehouse.lake.s3.bucket,
        "s3_bucket_region": "us-east-1",
        "s3_bucket_path": path,
        "access_key_id": "AKIAEXAMPLE",
        "secret_access_key": SECRET,
        "format": {"format_type": "Parquet"},
    }
    draft = DestinationDraft(name=f"sink {uuid4().hex[:8]}", config=config)
    return (await harness.service.create_destination(draft, CALLER))[0].id


async def test_no_ingestion_writes_above_or_below_the_path_of_another(
    harness: IngestionHarness,
) -> None:
    """A reader of a path gets everything below it."""
    outer = f"bronze/o{uuid4().hex[:8]}"
    middle, inner = await sink_at(harness, outer), await sink_at(harness, f"{outer}/orders")
    orders = await harness.source("toy", rows=1, stream="orders")
    forged = await harness.source("toy", rows=2, stream="y")

    async def write(source: Source, name: str, sink: str) -> Ingestion:
        draft = IngestionDraft(
            name=source.name, source_id=source.id, destination_id=sink, streams=(stream(name),)
        )
        return (await harness.service.create_ingestion(draft, CALLER))[0]

    first = await write(orders, "orders", middle)
    assert [written.path for written in first.streams] == [f"{outer}/orders"]
    with pytest.raises(Conflict, match=f"already writes {outer}/orders") as conflict:
        await write(forged, "y", inner)
    assert conflict.value.members["conflicting_id"] == first.id
    await harness.service.delete_ingestion(first.id, CALLER)
    second = await write(forged, "y", inner)
    assert [written.path for written in second.streams] == [f"{outer}/orders/y"]
    with pytest.raises(Conflict, match=f"already writes {outer}/orders/y"):
        await write(orders, "orders", middle)


async def test_files_of_a_deleted_ingestion_stay_until_another_writes_there(
    harness: IngestionHarness,
) -> None:
    previous = await make(harness, rows=2)
    name = previous.ingestion.streams[0].name
    await previous.sync()
    await harness.service.delete_ingestion(previous.ingestion.id, CALLER)
    assert await previous.rows() == [1, 2]
    successor = await make(harness, rows=5, hang_after=4, stream=name)
    assert await successor.rows() == [1, 2]
    run = await successor.start()
    await until(harness.reading)
    await harness.runs.cancel(run.run_id, CALLER)
    await harness.runs.wait(run.run_id, 30)
    assert await successor.rows() == [1, 2]
    await harness.service.delete_ingestion(successor.ingestion.id, CALLER)
    last = await make(harness, rows=1, stream=name)
    await last.sync()
    assert await last.rows() == [1]


async def test_an_inactive_ingestion_does_not_sync(harness: IngestionHarness) -> None:
    toy = await make(harness, rows=1)
    change = IngestionChange(status=IngestionStatus.INACTIVE, name="asleep")
    changed = await harness.service.update_ingestion(toy.ingestion.id, change, CALLER)
    assert (changed.name, changed.status) == ("asleep", IngestionStatus.INACTIVE)
    assert changed.streams == toy.ingestion.streams
    with pytest.raises(Conflict, match="inactive"):
        await toy.sync()


async def test_a_source_and_sink_in_use_are_not_deleted(harness: IngestionHarness) -> None:
    toy = await make(harness, rows=1)
    with pytest.raises(Conflict) as conflict:
        await harness.service.delete_source(toy.ingestion.source_id, CALLER)
    assert conflict.value.members["conflicting_id"] == toy.ingestion.id
    with pytest.raises(Conflict, match="destination is used by"):
        await harness.service.delete_destination(toy.ingestion.destination_id, CALLER)
