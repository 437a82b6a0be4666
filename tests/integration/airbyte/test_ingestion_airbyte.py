"""The features of Airbyte alone: its own jobs, its layout of bronze, and ids that it chooses."""

import asyncio
import threading
from typing import Any
from uuid import uuid4

import pytest

from app.airbyte.engine import (
    DestinationDraft,
    IngestionChange,
    IngestionDraft,
    Schedule,
    ScheduleType,
    SourceDraft,
    SyncMode,
)
from app.airbyte.remote import jobs
from app.airbyte.remote.engine import RemoteIngestionEngine
from app.errors import InvalidBody, NotFound, NotSupported, PathRefused
from app.failure import FailureCause
from app.idempotency import IdempotencyKey
from app.runs.handler import ReconciledAsFailed
from app.runs.model import RunState
from app.runs.submission import Submission
from tests.harnesses.ingestion import (
    CALLER,
    INCREMENTAL,
    SECONDS,
    IngestionHarness,
    Toy,
    ingestion_harness,
    make,
    stream,
)
from tests.integration.servers.airbyte import AirbyteServer
from tests.patience import until

SECRET = "tr0ub4dor-and-3"


@pytest.fixture
def airbyte(harness: IngestionHarness) -> AirbyteServer:
    assert harness.airbyte is not None
    harness.airbyte.reset()
    return harness.airbyte


@pytest.fixture
def engine(harness: IngestionHarness) -> RemoteIngestionEngine:
    assert isinstance(harness.engine, RemoteIngestionEngine)
    return harness.engine


def start_job(airbyte: AirbyteServer, toy: Toy) -> int:
    """Start a job as Airbyte's own scheduler would."""
    body = {"connectionId": toy.ingestion.id, "jobType": "sync"}
    _, job = airbyte.state.answer("POST", "/jobs", {}, body)
    id_: int = job["jobId"]
    return id_


async def ended(airbyte: AirbyteServer, job_id: int) -> str:
    async def end() -> str | None:
        job = airbyte.state.jobs[job_id]
        return job.status if job.ended else None

    status: str = await until(end)
    return status


async def test_files_lie_where_airbytes_s3_destination_writes_them(
    harness: IngestionHarness,
) -> None:
    toy = await make(harness, rows=25, namespace="Größe 1/2")
    assert toy.path == f"bronze/Große_1/2/{toy.ingestion.streams[0].name}".replace("ß", "_")
    run = await toy.sync()
    assert run.output is not None
    assert [len(s.files) for s in run.output.streams] == [3]
    assert await toy.rows() == list(range(1, 26))
    meta = "_airbyte_meta.sync_id, len(_airbyte_meta.changes), typeof(_airbyte_raw_id)"
    job = int(run.engine["airbyte_job_id"])
    assert sorted(await harness.rows(toy.path, meta))[-1] == (job, 1, "VARCHAR")


async def test_an_empty_stream_has_no_files(harness: IngestionHarness) -> None:
    toy = await make(harness, rows=0)
    assert (await toy.sync()).state is RunState.SUCCEEDED
    bronze = await harness.manifests.resolve(toy.path)
    assert bronze is not None
    assert bronze.files == ()


@pytest.mark.parametrize(
    "mode", [SyncMode.FULL_REFRESH_OVERWRITE, SyncMode.FULL_REFRESH_APPEND, INCREMENTAL]
)
async def test_a_sync_whose_files_are_missing_is_lost(
    harness: IngestionHarness, airbyte: AirbyteServer, mode: SyncMode
) -> None:
    toy = await make(harness, mode, rows=10)
    assert (await toy.sync()).state is RunState.SUCCEEDED
    before = await harness.keys(toy.path)
    airbyte.state.sources[toy.ingestion.source_id]["configuration"] |= {
        "rows": 20,
        "hang_after": 20,
    }
    earlier = set(airbyte.state.jobs)
    run = await toy.start()
    rows = 10 if mode is INCREMENTAL else 20

    async def written() -> Any:
        jobs = [job for id_, job in airbyte.state.jobs.items() if id_ not in earlier]
        return jobs[0] if jobs and jobs[0].rows == rows else None

    job = await until(written)
    await harness.lakehouse.store.delete_many(await harness.keys(toy.path) - before)
    job.resumed.set()
    over = await harness.runs.wait(run.run_id, SECONDS)
    assert over.state is RunState.FAILED
    assert over.failure is not None
    assert over.failure.cause is FailureCause.LOST
    expected = f"job {job.id} reports {job.rows} rows, but no new file in {toy.path} has any."
    assert over.failure.message.endswith(expected)
    with pytest.raises(ReconciledAsFailed, match="but no new file"):
        await harness.engine.reconcile_sync(over, toy.ingestion.id)
    bronze = await harness.manifests.resolve(toy.path)
    assert bronze is not None
    assert set(bronze.files) == before


async def test_a_running_job_is_joined(harness: IngestionHarness, airbyte: AirbyteServer) -> None:
    toy = await make(harness, rows=25, hang_after=15)
    job = start_job(airbyte, toy)
    await until(harness.reading)
    run = await toy.start()

    async def joined() -> bool:
        return (await harness.runs.get(run.run_id)).engine.get("airbyte_job_id") == job

    await until(joined)
    assert airbyte.calls("POST /jobs") == 0
    assert "joined" in await harness.runs.logs(run.run_id)
    await harness.runs.cancel(run.run_id, CALLER)
    assert (await harness.runs.wait(run.run_id, 30)).state is RunState.CANCELLED
    assert await ended(airbyte, job) == "cancelled"


async def test_a_job_cancelled_in_airbyte_ends_the_run(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    toy = await make(harness, rows=25, hang_after=15)
    run = await toy.start()
    await until(harness.reading)
    for job in airbyte.state.jobs.values():
        job.cancelled.set()
    over = await harness.runs.wait(run.run_id, 30)
    assert over.failure is not None
    assert (over.state, over.failure.cause) == (RunState.FAILED, "cancelled")
    assert over.engine_state == "cancelled"
    assert await toy.rows() == []


@pytest.mark.parametrize(
    ("failure", "cause", "retryable"),
    [
        ({"failureType": "config_error", "retryable": False}, "internal", False),
        ({"failureType": "config_error", "externalMessage": "password authentication failed: "
          "permission denied", "retryable": False}, "permission_denied", False),
        ({"failureType": "heartbeat_timeout"}, "timeout", True),
        ({"failureType": "transient_error"}, "engine_unreachable", True),
        ({"internalMessage": "the source was OOMKilled"}, "out_of_memory", True),
        ({"externalMessage": "0/3 nodes: Insufficient memory"}, "unschedulable", True),
        ({"internalMessage": "ErrImagePull"}, "image_pull", True),
        ({"externalMessage": 'relation "t" does not exist'}, "table_not_found", True),
        ({"internalMessage": "java.lang.OutOfMemoryError"}, "out_of_memory", True),
        # A kill has many reasons.
        ({"internalMessage": "the source ended with exit code 137"}, "internal", True),
    ],
)  # fmt: skip
async def test_a_failed_job_is_classified(
    harness: IngestionHarness, failure: dict[str, Any], cause: str, retryable: bool
) -> None:
    toy = await make(harness, rows=3, fail_after=2, failure=failure)
    run = await toy.sync()
    assert run.failure is not None
    assert (run.failure.cause, run.failure.retryable) == (cause, retryable)
    assert failure.get("externalMessage", "no more after 2") in run.failure.message


async def test_a_failure_without_a_reason_names_the_job(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    airbyte.fail("POST /api/v1/jobs/get", status=404, body="{}")
    toy = await make(harness, rows=3, fail_after=2)
    run = await toy.sync()
    assert run.failure is not None
    assert "failed; its public API does not say why" in run.failure.message


async def test_files_of_a_failed_append_count_once_the_next_one_completes(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    """Airbyte's state has moved past those rows. Without their files they would be lost."""
    toy = await make(harness, INCREMENTAL, rows=50, fail_after=45)
    assert (await toy.sync()).state is RunState.FAILED
    assert await toy.rows() == []
    del airbyte.state.sources[toy.ingestion.source_id]["configuration"]["fail_after"]
    run = await toy.sync()
    assert run.output is not None
    assert (run.output.rows, run.output.rows_written) == (50, 50)
    assert run.engine["rows_synced"] == 10
    assert await toy.rows() == list(range(1, 51))


async def test_a_sync_by_airbytes_schedule_is_recorded_too(
    harness: IngestionHarness, airbyte: AirbyteServer, engine: RemoteIngestionEngine
) -> None:
    toy = await make(harness, rows=3)
    await toy.sync()
    airbyte.state.sources[toy.ingestion.source_id]["configuration"]["rows"] = 5
    job = start_job(airbyte, toy)
    await ended(airbyte, job)
    for _ in range(2):
        await engine.follower.poll()
    assert await toy.rows() == [1, 2, 3, 4, 5]
    bronze = await harness.manifests.resolve(toy.path)
    assert bronze is not None
    assert bronze.run_ids == (f"airbyte-job-{job}",)
    assert len((await toy.manifest()).commits) == 2
    _, run, newer = await harness.service.last_sync(toy.ingestion.id)
    assert run is not None
    assert newer is not None
    assert (newer.id, newer.state, newer.rows) == (f"airbyte-job-{job}", RunState.SUCCEEDED, 5)


async def test_a_runs_own_job_is_shown_as_the_run(harness: IngestionHarness) -> None:
    toy = await make(harness, rows=3)
    assert (await harness.service.last_sync(toy.ingestion.id))[1:] == (None, None)
    ran = await toy.sync()
    _, run, job = await harness.service.last_sync(toy.ingestion.id)
    assert run is not None
    assert (run.run_id, job) == (ran.run_id, None)


async def test_files_from_before_the_gateway_stay_visible(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    toy = await make(harness, rows=3)
    await harness.lakehouse.store.delete(f"asgard/bronze/{toy.ingestion.id}.json")
    await ended(airbyte, start_job(airbyte, toy))
    airbyte.state.sources[toy.ingestion.source_id]["configuration"]["hang_after"] = 2
    run = await toy.start()
    await until(harness.reading)
    assert await toy.rows() == [1, 2, 3]
    await harness.runs.cancel(run.run_id, CALLER)
    await harness.runs.wait(run.run_id, 30)


async def test_a_sync_outlives_its_gateway(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    toy = await make(harness, rows=25, hang_after=15)
    assert isinstance(harness.engine, RemoteIngestionEngine)
    async with ingestion_harness(
        harness.lakehouse, harness.settings, harness.engine, harness.data, airbyte
    ) as other:
        run = (await other.service.sync(toy.ingestion.id, Submission(CALLER)))[0]

        async def has_its_job() -> bool:
            return "airbyte_job_id" in (await other.runs.get(run.run_id)).engine

        await until(has_its_job)
        await other.runs.close(grace=0)
        del airbyte.state.sources[toy.ingestion.source_id]["configuration"]["hang_after"]
    [job] = [j for j in airbyte.state.jobs.values() if j.connection_id == toy.ingestion.id]
    job.resumed.set()
    over = await harness.runs.wait(run.run_id, SECONDS)
    assert over.state is RunState.SUCCEEDED, (over.failure, over.engine, job.status, job.failure)
    assert await toy.rows() == list(range(1, 26))
    assert airbyte.calls("POST /jobs") == 1


async def test_a_gateway_that_ends_records_its_requested_job(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    toy = await make(harness, rows=25)
    held = airbyte.fail("POST /jobs", held=threading.Event()).held
    assert isinstance(harness.engine, RemoteIngestionEngine)
    assert held is not None
    async with ingestion_harness(
        harness.lakehouse, harness.settings, harness.engine, harness.data, airbyte
    ) as other:
        run = (await other.service.sync(toy.ingestion.id, Submission(CALLER)))[0]
        await until(lambda: _requested(airbyte))
        [task] = [t for t in asyncio.all_tasks() if t.get_name() == f"run {run.run_id}"]
        ending = asyncio.create_task(other.runs.close(grace=0))

        async def interrupted() -> bool:
            return task.cancelling() > 0

        await until(interrupted)
        held.set()
        await ending
    over = await harness.runs.wait(run.run_id, SECONDS)
    [job] = [j for j in airbyte.state.jobs.values() if j.connection_id == toy.ingestion.id]
    assert (over.state, over.engine["airbyte_job_id"]) == (RunState.SUCCEEDED, job.id)
    assert airbyte.calls("POST /jobs") == 1


async def test_a_job_that_airbyte_creates_after_its_gateway_ended_is_waited_for(
    harness: IngestionHarness, airbyte: AirbyteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "REQUEST_GRACE", 0.0)
    toy = await make(harness, rows=25)
    held = airbyte.fail("POST /jobs", held=threading.Event()).held
    assert isinstance(harness.engine, RemoteIngestionEngine)
    assert held is not None
    async with ingestion_harness(
        harness.lakehouse, harness.settings, harness.engine, harness.data, airbyte
    ) as other:
        run = (await other.service.sync(toy.ingestion.id, Submission(CALLER)))[0]
        await until(lambda: _requested(airbyte))
        await other.runs.close(grace=0)
    looks = airbyte.calls("GET /jobs")

    async def looked_for() -> bool:
        return airbyte.calls("GET /jobs") > looks

    await until(looked_for)
    held.set()
    over = await harness.runs.wait(run.run_id, SECONDS)
    assert over.state is RunState.SUCCEEDED, over.failure
    assert await toy.rows() == list(range(1, 26))
    assert airbyte.calls("POST /jobs") == 1


async def test_a_job_that_fails_without_its_gateway_fails_the_run_with_its_cause(
    harness: IngestionHarness,
) -> None:
    toy = await make(harness, rows=3, fail_after=2, failure={"failureType": "heartbeat_timeout"})
    run = await toy.sync()
    with pytest.raises(ReconciledAsFailed) as settled:
        await harness.engine.reconcile_sync(run, toy.ingestion.id)
    assert "no more after 2" in settled.value.error.detail
    assert settled.value.engine_state == "failed"


async def _requested(airbyte: AirbyteServer) -> bool:
    return airbyte.calls("POST /jobs") > 0


async def test_a_job_whose_id_was_not_recorded_is_found(harness: IngestionHarness) -> None:
    toy = await make(harness, rows=3)
    run = await toy.sync()
    engine = {"airbyte_last_job_id": run.engine["airbyte_job_id"] - 1}
    amnesiac = run.model_copy(update={"engine": engine})
    settled = await harness.engine.reconcile_sync(amnesiac, toy.ingestion.id)
    assert settled is not None
    assert settled.output == run.output
    never = run.model_copy(update={"engine": {}, "run_id": uuid4().hex})
    assert await harness.engine.reconcile_sync(never, toy.ingestion.id) is None


async def test_a_repeated_request_finds_the_resource_of_the_first_one(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    name = f"again_{uuid4().hex[:8]}"
    config = {"rows": 1, "stream": name}
    draft = SourceDraft(name=name, type="toy", config=config)

    def key(kind: str) -> IdempotencyKey:
        return IdempotencyKey(f"{kind}-{name}", CALLER, "same")

    sources = [
        await harness.service.create_source(draft, Submission(CALLER, key("source")))
        for _ in range(2)
    ]
    assert sources[0].source.id == sources[1].source.id
    assert [s.claim.replayed for s in sources] == [False, True]
    sinks = [
        (
            await harness.service.create_destination(
                DestinationDraft(name=name), CALLER, key("sink")
            )
        )[0]
        for _ in range(2)
    ]
    assert sinks[0] == sinks[1]
    ingestion = IngestionDraft(
        name=name,
        source_id=sources[0].source.id,
        destination_id=sinks[0].id,
        streams=(stream(name),),
    )
    created = [
        (await harness.service.create_ingestion(ingestion, CALLER, key("i")))[0] for _ in range(2)
    ]
    assert created[0] == created[1]
    assert created[0].created_by == CALLER.subject
    for path in ("sources", "destinations", "connections"):
        assert airbyte.calls(f"POST /{path}") == 1


async def test_secrets_do_not_appear_in_responses_logs_or_objects(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    toy = await make(harness, rows=3, password=SECRET)
    source = await harness.service.source(toy.ingestion.source_id)
    assert source.config["password"] == "**********"
    run = await toy.sync()
    airbyte.fail("POST /sources", status=422, body=f'{{"detail": "bad password {SECRET}"}}')
    with pytest.raises(InvalidBody) as refused:
        await harness.source("toy", rows=1, stream="a", password=SECRET)
    texts = [str(refused.value.__dict__), run.model_dump_json(), str(source)]
    texts.append(await harness.runs.logs(run.run_id))
    for info in await harness.lakehouse.store.list("asgard/"):
        stored = await harness.lakehouse.store.get(info.key)
        texts.append(stored.body.decode(errors="replace") if stored else "")
    assert not any(SECRET in text for text in texts)
    assert harness.lakehouse.lake.s3.secret_key not in str(
        await harness.service.destination(harness.sink)
    )


async def test_destinations_cannot_use_asgards_own_paths(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    config = {
        "s3_bucket_name": harness.lakehouse.lake.s3.bucket,
        "s3_bucket_region": "us-east-1",
        "access_key_id": "key",
        "secret_access_key": SECRET,
        "format": {"format_type": "Parquet"},
    }
    for path in ("asgard/runs", "bronze/../asgard", "silver"):
        draft = DestinationDraft(name="no", config={**config, "s3_bucket_path": path})
        with pytest.raises(PathRefused):
            await harness.service.create_destination(draft, CALLER)
    empty = DestinationDraft(name="empty", config={**config, "s3_bucket_path": ""})
    created, _ = await harness.service.create_destination(empty, CALLER)
    assert created.config["s3_bucket_path"] == "bronze"
    away = {**config, "s3_bucket_name": "theirs", "s3_bucket_path": "in"}
    sink, _ = await harness.service.create_destination(
        DestinationDraft(name="away", config=away), CALLER
    )
    source = await harness.source("toy", rows=1, stream="away")
    draft = IngestionDraft(name="away", source_id=source.id, destination_id=sink.id, streams=None)
    elsewhere, _ = await harness.service.create_ingestion(draft, CALLER)
    assert elsewhere.streams[0].path == "s3://theirs/in/away"


async def test_schedules_run_in_airbyte(harness: IngestionHarness, airbyte: AirbyteServer) -> None:
    toy = await make(harness, rows=1)
    change = IngestionChange(schedule=Schedule(type=ScheduleType.CRON, cron="30 3 * * 1-5"))
    changed = await harness.service.update_ingestion(toy.ingestion.id, change, CALLER)
    assert changed.schedule.cron == "0 30 3 ? * MON-FRI UTC"
    basic = IngestionChange(schedule=Schedule(type=ScheduleType.BASIC))
    with pytest.raises(NotSupported):
        await harness.service.update_ingestion(toy.ingestion.id, basic, CALLER)


async def test_changed_streams_are_sent_to_airbyte(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    toy = await make(harness, rows=3)
    name = toy.ingestion.streams[0].name
    change = IngestionChange(streams=(stream(f"{name}_more", SyncMode.FULL_REFRESH_APPEND),))
    changed = await harness.service.update_ingestion(toy.ingestion.id, change, CALLER)
    assert [(s.path, s.sync_mode) for s in changed.streams] == [
        (f"bronze/{name}_more", SyncMode.FULL_REFRESH_APPEND)
    ]
    await harness.sync(changed)
    assert len(await harness.rows(f"bronze/{name}_more")) == 3
    back = await harness.service.update_ingestion(
        toy.ingestion.id, IngestionChange(all_streams=True), CALLER
    )
    assert [s.name for s in back.streams] == [name, f"{name}_more"]


async def test_a_deduplicating_mode_is_refused_for_s3(harness: IngestionHarness) -> None:
    source = await harness.source("toy", rows=1, stream=f"d{uuid4().hex[:6]}")
    name = (await harness.service.streams(source.id))[0].name
    with pytest.raises(Exception, match="does not support incremental_deduped_history"):
        await harness.ingestion(source, stream(name, SyncMode.INCREMENTAL_DEDUPED_HISTORY))


async def test_an_invalid_id_is_not_sent_to_airbyte(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    for wrong in ("../workspaces", "x?limit=1", "", "a" * 65):
        with pytest.raises(NotFound):
            await harness.service.source(wrong)
    assert airbyte.seen == []
    with pytest.raises(NotFound):
        await harness.service.source(str(uuid4()))
    with pytest.raises(NotSupported, match="no source of type nope"):
        await harness.source("nope")


async def test_two_syncs_at_once_are_one_job(
    harness: IngestionHarness, airbyte: AirbyteServer
) -> None:
    toy = await make(harness, rows=25)
    runs = await asyncio.gather(*(toy.sync() for _ in range(5)))
    assert {run.state for run in runs} == {RunState.SUCCEEDED}
    assert len({run.run_id for run in runs}) == 1
    assert airbyte.calls("POST /jobs") == 1
