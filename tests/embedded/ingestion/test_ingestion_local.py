"""Connectors that the gateway runs itself: their processes, checkpoints, files and secrets.

What both ingestion engines have in common is in `test_ingestion_connectors.py`.
"""

import json
import os
import signal
from pathlib import Path
from uuid import uuid4

import pytest

from app.airbyte.engine import SourceDraft
from app.errors import Conflict, InvalidBody
from app.runs.model import RunState
from tests.conftest import Lakehouse
from tests.harnesses.ingestion import (
    CALLER,
    INCREMENTAL,
    IngestionHarness,
    connectors,
    local_ingestion_harness,
    make,
)
from tests.patience import until

SECRET = "tr0ub4dor-and-3"


async def test_metadata_lists_the_changes(local_harness: IngestionHarness) -> None:
    toy = await make(local_harness, rows=4)
    run = await toy.sync()
    metas = await local_harness.meta(toy.path)
    assert metas[0] == {"changes": [], "sync_id": run.run_id}
    change = {"field": "odd", "change": "NULLED", "reason": "DESTINATION_TYPECAST_ERROR"}
    assert metas[2]["changes"] == [{**change, "value": '"many"'}]


async def test_a_config_is_checked_field_by_field(local_harness: IngestionHarness) -> None:
    for config, why in (
        ({"stream": "a"}, "config: rows is missing"),
        ({"stream": "a", "rows": SECRET}, "config.rows: must be integer"),
        ({"stream": "a", "rows": -1}, "config.rows: minimum is 0"),
    ):
        with pytest.raises(InvalidBody, match=why):
            await local_harness.source("toy", **config)
    unlucky = await local_harness.source("toy", rows=13, stream="a", password=SECRET)
    check = await local_harness.service.check_source(unlucky.id, CALLER)
    assert (check.succeeded, check.message) == (False, "13 is bad luck, ***")


async def test_a_commit_stores_the_connectors_state(local_harness: IngestionHarness) -> None:
    toy = await make(local_harness, INCREMENTAL, rows=25)
    await toy.sync()
    [state] = (await toy.manifest()).state.values()
    assert json.loads(state)["stream"]["stream_state"] == {"n": 25}


async def test_states_that_are_too_large_in_total_fail_the_sync(
    local_harness: IngestionHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.airbyte.local.sync.MOST_STATE", 10)
    toy = await make(local_harness, INCREMENTAL, rows=5)
    run = await toy.sync()
    assert run.failure is not None
    assert "have more than 10 characters in total" in run.failure.message
    assert (await toy.manifest()).state == {}
    assert await toy.rows() == []


async def test_a_failed_sync_keeps_its_checkpoint(local_harness: IngestionHarness) -> None:
    toy = await make(local_harness, INCREMENTAL, rows=50, fail_after=45)
    failed = [await toy.sync() for _ in range(2)][-1]
    assert "from 40" in await local_harness.runs.logs(failed.run_id)
    pending = (await toy.manifest()).pending
    assert pending is not None
    assert await local_harness.keys(toy.path) == {file.key for file in pending.files[toy.path]}


async def test_a_cancelled_sync_leaves_no_process_and_no_spool(
    local_harness: IngestionHarness,
) -> None:
    toy = await make(local_harness, rows=10, hang_after=5)
    run = await toy.start()
    await until(local_harness.reading)
    await local_harness.runs.cancel(run.run_id, CALLER)
    assert (await local_harness.runs.wait(run.run_id, 30)).state is RunState.CANCELLED
    await until(local_harness.at_rest)
    spool = local_harness.lakehouse.home / "spool"
    assert not [path for path in spool.iterdir() if path.name.startswith(run.run_id)]


async def test_an_empty_stream_still_has_its_columns(local_harness: IngestionHarness) -> None:
    toy = await make(local_harness, rows=0)
    await toy.sync()
    bronze = await local_harness.manifests.resolve(toy.path)
    assert bronze is not None
    assert len(bronze.files) == 1
    assert await toy.rows() == []


async def test_a_killed_incremental_sync_is_resumed_from_its_last_state(
    local_harness: IngestionHarness,
) -> None:
    toy = await make(
        local_harness, INCREMENTAL, rows=50, stop_file=str(local_harness.data / "stop")
    )
    stop = local_harness.write("stop", "45")
    run = await toy.start()

    async def checkpointed() -> bool:
        manifest = await local_harness.manifests.get(toy.ingestion.id)
        pending = manifest.pending if manifest else None
        return pending is not None and sum(f.rows for f in pending.files[toy.path]) == 40

    await until(checkpointed)
    assert await toy.rows() == [], "a checkpoint is not a complete sync"
    [connector] = connectors()
    worker = connector.parent()
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    ended = await local_harness.runs.wait(run.run_id, 30)
    assert ended.failure is not None
    assert ended.failure.retryable
    await until(local_harness.at_rest)
    stop.unlink()
    resumed = await toy.sync()
    assert resumed.state is RunState.SUCCEEDED, resumed.failure
    assert "continuing after 40 rows" in await local_harness.runs.logs(resumed.run_id)
    assert await toy.rows() == list(range(1, 51))
    bronze = await local_harness.manifests.resolve(toy.path)
    assert bronze is not None
    assert bronze.run_ids == (run.run_id, resumed.run_id)
    assert await local_harness.keys(toy.path) == set(bronze.files)


async def test_secrets_do_not_appear_in_records_logs_or_objects(
    local_harness: IngestionHarness,
) -> None:
    renewed = "renewed-s3cret"
    toy = await make(local_harness, rows=9, password=SECRET, renewed_password=renewed, fail_after=9)
    source = await local_harness.service.source(toy.ingestion.source_id)
    assert source.config["password"] == source.config["renewed_password"] == "**********"
    run = await toy.sync()
    assert run.failure is not None
    assert run.failure.message.endswith("no more after 9, ***")
    log = await local_harness.runs.logs(run.run_id)
    assert "from 0 with ***" in log
    assert "stderr knows ***" in log
    file = local_harness.lakehouse.home / "secrets" / "sources" / f"{source.id}.json"
    assert file.stat().st_mode & 0o777 == 0o600
    # The connector renewed its password, and the next run gets the new one.
    assert file.read_text().count(renewed) == 2
    texts = [log, run.model_dump_json()]
    for info in await local_harness.lakehouse.store.list("asgard/"):
        stored = await local_harness.lakehouse.store.get(info.key)
        texts.append(stored.body.decode(errors="replace") if stored else "")
    table = await local_harness.lakehouse.catalog.run(
        lambda catalog: catalog.load_table("asgard.sources").scan().to_arrow().to_pylist()
    )
    assert source.id in str(table)
    texts.append(str(table))
    for path in (local_harness.lakehouse.home / "logs").rglob("*"):
        texts.append(path.read_text(errors="replace") if path.is_file() else "")
    for secret in (SECRET, renewed):
        assert not any(secret in text for text in texts)
    await local_harness.service.delete_ingestion(toy.ingestion.id, CALLER)
    await local_harness.service.delete_source(source.id, CALLER)
    assert not file.exists()


async def test_an_unfinished_sync_is_never_visible_and_leaves_nothing(
    local_harness: IngestionHarness,
) -> None:
    toy = await make(local_harness, rows=50, hang_after=45)
    run = await toy.start()
    await until(local_harness.reading)
    [process] = connectors()
    bronze = await local_harness.manifests.resolve(toy.path)
    assert bronze is not None
    assert bronze.files == (), "the path belongs to the ingestion before it has a file"
    process.kill()
    ended = await local_harness.runs.wait(run.run_id, 30)
    assert ended.state is RunState.FAILED
    assert await toy.rows() == []
    assert await local_harness.keys(toy.path) == set()


async def test_reconciling_finds_a_commit_and_sweeps_uncommitted_files(
    local_harness: IngestionHarness,
) -> None:
    toy = await make(local_harness, rows=3)
    run = await toy.sync()
    settled = await local_harness.engine.reconcile_sync(run, toy.ingestion.id)
    assert settled is not None
    assert settled.output == run.output
    dead = run.model_copy(update={"run_id": uuid4().hex})
    held = await local_harness.manifests.begin(toy.ingestion.id, dead.run_id, "toy", [toy.path])
    assert held.manifest.writing is not None
    orphan = held.manifest.writing.key(toy.path, 0)
    await local_harness.lakehouse.store.put(orphan, b"half a file")
    assert await toy.rows() == [1, 2, 3]
    for _ in range(2):
        assert await local_harness.engine.reconcile_sync(dead, toy.ingestion.id) is None
    assert orphan not in await local_harness.keys(toy.path)
    assert await toy.rows() == [1, 2, 3]


async def test_a_read_of_streams_does_not_install_a_connector(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    """In a home of its own, where no other test has installed it."""
    settings = lakehouse.settings.model_copy(update={"asgard_home": tmp_path})
    async with local_ingestion_harness(lakehouse, settings, tmp_path) as local_harness:
        name = f"missing-{uuid4().hex[:6]}"
        draft = SourceDraft(name=name, type="faker", config={"count": 1})
        source = await local_harness.engine.create_source(str(uuid4()), draft, CALLER)
        before = await local_harness.runs.list(target="connector/faker")
        with pytest.raises(Conflict, match="The connector faker is not installed") as refused:
            await local_harness.service.streams(source.id)
        assert refused.value.hint == (
            f"POST /airbyte/datasource/{source.id}/check installs it. That needs the scope "
            "airbyte:write."
        )
        after = await local_harness.runs.list(target="connector/faker")
        assert after.total_count == before.total_count
