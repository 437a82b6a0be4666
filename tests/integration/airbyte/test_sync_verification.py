"""A sync by Airbyte has the result that its files in bronze have, whatever its job reports."""

import io
import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.airbyte.engine import DestinationDraft, IngestionDraft, SyncMode
from app.airbyte.remote.engine import RemoteIngestionEngine
from app.airbyte.remote.jobs import JOB_ID
from app.failure import FailureCause
from app.lakehouse.storage import open_client
from app.runs.handler import ReconciledAsFailed
from app.runs.model import Run, RunKind, RunState
from tests.harnesses.ingestion import (
    CALLER,
    INCREMENTAL,
    SECONDS,
    IngestionHarness,
    Toy,
    make,
    stream,
)
from tests.integration.servers.airbyte import AirbyteServer
from tests.integration.servers.airbyte_jobs import Job
from tests.patience import until

APPEND = SyncMode.FULL_REFRESH_APPEND
BAD_FOOTER = b"PAR1" + b"\xff" * 64 + (64).to_bytes(4, "little") + b"PAR1"


@pytest.fixture
def airbyte(harness: IngestionHarness) -> AirbyteServer:
    assert harness.airbyte is not None
    harness.airbyte.reset()
    return harness.airbyte


@pytest.fixture
def engine(harness: IngestionHarness) -> RemoteIngestionEngine:
    assert isinstance(harness.engine, RemoteIngestionEngine)
    return harness.engine


def parquet(rows: int) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"n": pa.array(range(rows), pa.int64())}), buffer)
    return buffer.getvalue()


async def written(airbyte: AirbyteServer, toy: Toy) -> Job:
    """Wait until the newest job has written its twenty rows. It hangs there."""

    async def job() -> Job | None:
        newest = max(
            (j for j in airbyte.state.jobs.values() if j.connection_id == toy.ingestion.id),
            key=lambda each: each.id,
            default=None,
        )
        return newest if newest and newest.rows == 20 and not newest.ended else None

    found: Job = await until(job)
    return found


async def sync_with(
    airbyte: AirbyteServer, toy: Toy, change: Callable[[bytes], bytes | None]
) -> tuple[Run, str]:
    """Sync, and change the second of the two files before Airbyte's job ends. Return the run and
    the file's key. None deletes the file."""
    before = await toy.harness.keys(toy.path)
    run = await toy.start()
    job = await written(airbyte, toy)
    key = max(await toy.harness.keys(toy.path) - before)
    store = toy.harness.lakehouse.store
    stored = await store.get(key)
    assert stored is not None
    changed = change(stored.body)
    await (store.delete(key) if changed is None else store.put(key, changed))
    job.resumed.set()
    return await toy.harness.runs.wait(run.run_id, SECONDS), key


@pytest.mark.parametrize("mode", [SyncMode.FULL_REFRESH_OVERWRITE, APPEND, INCREMENTAL])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda _: b"", "is empty"),
        (lambda body: body[: len(body) // 2], "is not a valid Parquet file"),
        (lambda _: BAD_FOOTER, "is not a valid Parquet file"),
        (
            lambda body: body[4:-8] + (2**31).to_bytes(4, "little") + b"PAR1",
            "is not a valid Parquet file",
        ),
    ],
    ids=["empty", "truncated", "bad footer", "bad length"],
)
async def test_a_damaged_file_fails_the_run(
    harness: IngestionHarness,
    airbyte: AirbyteServer,
    engine: RemoteIngestionEngine,
    mode: SyncMode,
    damage: Callable[[bytes], bytes],
    says: str,
) -> None:
    toy = await make(harness, mode, rows=20, hang_after=20)
    run, key = await sync_with(airbyte, toy, damage)
    assert run.state is RunState.FAILED
    assert run.failure is not None
    assert (run.failure.cause, run.failure.retryable) == (FailureCause.LOST, False)
    assert key in run.failure.message
    assert says in run.failure.message
    assert "Delete" in (run.failure.hint or "")
    assert run.output is None
    assert await toy.rows() == []
    with pytest.raises(ReconciledAsFailed, match=says):
        await harness.engine.reconcile_sync(run, toy.ingestion.id)
    for _ in range(2):
        await engine.follower.poll()
    assert await toy.rows() == [], "the sync stays refused when Airbyte's jobs are followed"


async def test_a_sync_after_the_damaged_file_was_deleted_counts_all_files(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    toy = await make(harness, APPEND, rows=20, hang_after=20)
    failed, key = await sync_with(airbyte, toy, lambda _: b"")
    assert failed.state is RunState.FAILED
    await harness.lakehouse.store.delete(key)
    airbyte.state.sources[toy.ingestion.source_id]["configuration"]["hang_after"] = None
    run = await toy.sync()
    assert run.state is RunState.SUCCEEDED, run.failure
    assert await toy.rows() == sorted([*range(1, 11), *range(1, 21)])
    assert run.output is not None
    assert run.output.rows_written == 30


async def test_rows_are_counted_in_the_files(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    toy = await make(harness, rows=20, hang_after=20)
    run, _ = await sync_with(airbyte, toy, lambda _: parquet(7))
    assert run.state is RunState.SUCCEEDED, run.failure
    assert run.output is not None
    assert (run.output.rows, run.output.rows_written) == (17, 17)
    assert run.output.bytes == sum(
        info.size for info in await harness.lakehouse.store.list(f"{toy.path}/")
    )
    assert run.engine["rows_synced"] == 20
    warnings = [event.message for event in run.events if event.type == "Warning"]
    assert warnings == ["Airbyte reports 20 rows, but the new files contain only 17."]
    _, last, _ = await harness.service.last_sync(toy.ingestion.id)
    assert last is not None
    assert last.output == run.output


async def test_a_missing_file_is_not_counted(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    toy = await make(harness, rows=20, hang_after=20)
    run, _ = await sync_with(airbyte, toy, lambda _: None)
    assert run.output is not None
    assert (run.state, run.output.rows_written) == (RunState.SUCCEEDED, 10)
    assert [event.type for event in run.events].count("Warning") == 1


async def test_files_without_rows_do_not_make_a_sync_of_rows_succeed(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    toy = await make(harness, rows=20, hang_after=20)
    run = await toy.start()
    job = await written(airbyte, toy)
    for key in await harness.keys(toy.path):
        await harness.lakehouse.store.put(key, parquet(0))
    job.resumed.set()
    over = await harness.runs.wait(run.run_id, SECONDS)
    assert over.failure is not None
    assert (over.state, over.failure.cause) == (RunState.FAILED, FailureCause.LOST)
    assert f"reports 20 rows, but no new file in {toy.path} has any" in over.failure.message


async def test_rows_of_other_formats_are_not_verified(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    toy = await make(harness, rows=20, hang_after=20)
    run = await toy.start()
    job = await written(airbyte, toy)
    store = harness.lakehouse.store
    keys = await harness.keys(toy.path)
    await store.delete_many(keys)
    for key in keys:
        await store.put(key.replace(".parquet", ".jsonl"), b'{"n": 1}\n')
    job.resumed.set()
    over = await harness.runs.wait(run.run_id, SECONDS)
    assert over.state is RunState.SUCCEEDED, over.failure
    assert over.output is not None
    assert (over.output.rows, over.output.rows_written) == (None, None)
    assert (over.output.files, over.output.bytes) == (2, 18)
    assert [stream.rows for stream in over.output.streams] == [None]
    assert over.engine["rows_synced"] == 20


async def test_rows_in_another_bucket_are_not_verified(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    s3 = harness.lakehouse.lake.s3
    bucket = f"theirs-{uuid4().hex[:8]}"
    open_client(s3).create_bucket(Bucket=bucket)
    config = {
        "s3_bucket_name": bucket,
        "s3_bucket_region": s3.region,
        "s3_bucket_path": "in",
        "s3_endpoint": s3.endpoint,
        "access_key_id": s3.access_key,
        "secret_access_key": s3.secret_key,
        "format": {"format_type": "Parquet"},
    }
    draft = DestinationDraft(name=bucket, config=config)
    sink, _ = await harness.service.create_destination(draft, CALLER)
    source = await harness.source("toy", rows=5, stream="away")
    ingestion, _ = await harness.service.create_ingestion(
        IngestionDraft(
            name=bucket, source_id=source.id, destination_id=sink.id, streams=(stream("away"),)
        ),
        CALLER,
    )
    run = await harness.sync(ingestion)
    assert run.state is RunState.SUCCEEDED, run.failure
    assert run.output is not None
    assert (run.output.rows_written, run.output.bytes) == (None, None)
    assert run.engine["rows_synced"] == 5


@pytest.mark.parametrize("damage", [b"", BAD_FOOTER], ids=["empty", "bad footer"])
async def test_a_damaged_file_of_airbytes_own_sync_is_reported(
    harness: IngestionHarness, airbyte: AirbyteServer, engine: RemoteIngestionEngine, damage: bytes
) -> None:
    """By its schedule, for example."""
    toy = await make(harness, APPEND, rows=20, hang_after=20)
    other = await make(harness, rows=5)
    for each in (toy, other):
        body = {"connectionId": each.ingestion.id, "jobType": "sync"}
        airbyte.state.answer("POST", "/jobs", {}, body)
    job = await written(airbyte, toy)
    [*_, key] = sorted(await harness.keys(toy.path))
    await harness.lakehouse.store.put(key, damage)
    _, _, running = await harness.service.last_sync(toy.ingestion.id)
    assert running is not None
    assert running.rows is None, "the number of a running job is Airbyte's"
    job.resumed.set()

    async def over() -> bool:
        return all(job.ended for job in airbyte.state.jobs.values())

    await until(over)
    for _ in range(2):
        await engine.follower.poll()
    assert await toy.rows() == []
    assert await other.rows() == [1, 2, 3, 4, 5], "the other ingestion is followed all the same"
    _, _, last = await harness.service.last_sync(toy.ingestion.id)
    assert last is not None
    assert (last.id, last.state, last.rows) == (f"airbyte-job-{job.id}", RunState.FAILED, None)
    assert key in (last.error or "")
    _, _, verified = await harness.service.last_sync(other.ingestion.id)
    assert verified is not None
    assert (verified.state, verified.rows, verified.error) == (RunState.SUCCEEDED, 5, None)


def run_of(toy: Toy, job_id: int) -> Run:
    """Return a run whose gateway died after it had started the job."""
    return Run(
        run_id=uuid4().hex,
        kind=RunKind.INGESTION,
        target=f"ingestion/{toy.ingestion.id}",
        created_at=datetime.now(UTC),
        created_by="tester",
        engine={JOB_ID: job_id},
    )


@pytest.mark.parametrize("mode", [SyncMode.FULL_REFRESH_OVERWRITE, APPEND])
async def test_files_of_the_next_job_are_not_those_of_the_job_before(
    harness: IngestionHarness, airbyte: AirbyteServer, engine: RemoteIngestionEngine, mode: SyncMode
) -> None:
    """The next job began before the gateway listed the files of the one before."""
    toy = await make(harness, mode, rows=20)
    body = {"connectionId": toy.ingestion.id, "jobType": "sync"}

    def start() -> Job:
        _, document = airbyte.state.answer("POST", "/jobs", {}, body)
        return airbyte.state.jobs[document["jobId"]]

    first = start()

    async def clocks_differ() -> bool:
        return first.ended and time.time() >= int(first.updated) + 1

    await until(clocks_differ)
    airbyte.state.sources[toy.ingestion.source_id]["configuration"]["hang_after"] = 20
    second = start()
    assert await written(airbyte, toy) is second
    assert len(await harness.keys(toy.path)) == 4
    run = run_of(toy, first.id)
    result = await engine.reconcile_sync(run, toy.ingestion.id)
    assert result is not None
    assert result.output is not None
    assert (result.output.rows_written, result.output.files) == (20, 2)
    assert await toy.rows() == list(range(1, 21))
    second.resumed.set()

    async def over() -> bool:
        return second.ended

    await until(over)
    await engine.follower.poll()
    _, _, last = await harness.service.last_sync(toy.ingestion.id)
    assert last is not None
    assert (last.id, last.state, last.rows) == (f"airbyte-job-{second.id}", RunState.SUCCEEDED, 20)
    assert await toy.rows() == sorted([*range(1, 21)] * (2 if mode is APPEND else 1))


async def test_a_job_whose_files_the_next_one_has_replaced_is_not_a_success(
    harness: IngestionHarness, airbyte: AirbyteServer, engine: RemoteIngestionEngine
) -> None:
    toy = await make(harness, rows=20)
    body = {"connectionId": toy.ingestion.id, "jobType": "sync"}
    for _ in range(2):
        _, document = airbyte.state.answer("POST", "/jobs", {}, body)
        job = airbyte.state.jobs[document["jobId"]]

        async def over(job: Job = job) -> bool:
            return job.ended and time.time() >= int(job.updated) + 1

        await until(over)
    run = run_of(toy, job.id - 1)
    with pytest.raises(ReconciledAsFailed, match=f"Job {job.id} has begun since"):
        await engine.reconcile_sync(run, toy.ingestion.id)
    await engine.follower.poll()
    assert await toy.rows() == list(range(1, 21))
