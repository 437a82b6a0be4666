"""Airbyte connectors, spoken to by the protocol: what a sync makes visible, and what not."""

import os
import signal
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psutil
import pytest
from ingestion_world import CALLER, World, eventually, ingestion_world, stream  # noqa: F401

from app.airbyte.engine import Ingestion, IngestionChange, IngestionStatus, SyncMode
from app.errors import Conflict, InvalidBody
from app.lakehouse.bronze import Manifest
from app.runs.model import Run, RunState

SECRET = "tr0ub4dor-and-3"
INCREMENTAL = SyncMode.INCREMENTAL_APPEND


@dataclass(frozen=True)
class Toy:
    """A toy source with streams of its own, and an ingestion of the first one."""

    world: World
    ingestion: Ingestion

    @property
    def path(self) -> str:
        return self.ingestion.streams[0].path

    async def sync(self) -> Run:
        return await self.world.sync(self.ingestion)

    async def start(self) -> Run:
        return (await self.world.service.sync(self.ingestion.id, CALLER))[0]

    async def rows(self) -> list[int]:
        return [row[0] for row in await self.world.rows(self.path, "n")]

    async def manifest(self) -> Manifest:
        found = await self.world.manifests.get(self.ingestion.id)
        assert found is not None
        return found


async def make(world: World, mode: SyncMode | None = None, **config: Any) -> Toy:
    name = config.setdefault("stream", f"ticks_{uuid4().hex[:8]}")
    source = await world.source("toy", **config)
    chosen = stream(name, mode or SyncMode.FULL_REFRESH_OVERWRITE)
    return Toy(world, await world.ingestion(source, chosen))


def connectors() -> list[psutil.Process]:
    """Those that run: not the launcher, whose command line is empty while it becomes one."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if any(part.endswith("/source-toy") for part in command_line(process)[:2])
    ]


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


async def some_connector() -> list[psutil.Process]:
    return connectors()


async def no_connector() -> bool:
    return not connectors()


async def test_records_are_typed_by_their_schema(world: World) -> None:
    toy = await make(world, rows=4)
    run = await toy.sync()
    assert run.state is RunState.SUCCEEDED, run.failure
    columns = 'n, "at"::VARCHAR, odd, "inner", typeof(n), typeof("at"), typeof(odd)'
    rows = await world.rows(toy.path, columns)
    kinds = ("BIGINT", "TIMESTAMP WITH TIME ZONE", "BIGINT")
    assert rows[0] == (1, "2024-02-29 12:00:00.5+00", 1, '{"of":[1]}', *kinds)
    assert rows[2][2] is None
    metas = await world.meta(toy.path)
    assert metas[0] == {"changes": [], "sync_id": run.run_id}
    change = {"field": "odd", "change": "NULLED", "reason": "DESTINATION_TYPECAST_ERROR"}
    assert metas[2]["changes"] == [{**change, "value": '"many"'}]


async def test_an_empty_stream_still_has_its_columns(world: World) -> None:
    toy = await make(world, rows=0)
    await toy.sync()
    found = await world.manifests.resolve(toy.path)
    assert found is not None
    assert len(found.files) == 1
    assert await toy.rows() == []


async def test_streams_and_check_come_from_the_connector(world: World) -> None:
    source = await world.source("toy", rows=1, stream="a")
    streams = await world.service.streams(source.id, CALLER)
    assert [s.name for s in streams] == ["a", "a_more"]
    assert streams[0].sync_modes == (
        SyncMode.FULL_REFRESH_OVERWRITE,
        SyncMode.FULL_REFRESH_APPEND,
        SyncMode.INCREMENTAL_APPEND,
    )
    assert (streams[0].primary_key, streams[0].cursor) == ((("n",),), ("n",))
    assert (await world.service.check_source(source.id, CALLER)).succeeded
    unlucky = await world.source("toy", rows=13, stream="a", password=SECRET)
    check = await world.service.check_source(unlucky.id, CALLER)
    assert (check.succeeded, check.message) == (False, "13 is bad luck, **********")


async def test_a_config_is_judged_by_the_connectors_spec(world: World) -> None:
    before = await world.service.sources()
    for config, why in (
        ({"stream": "a"}, "config: rows is missing"),
        ({"stream": "a", "rows": SECRET}, "config.rows: must be integer"),
        ({"stream": "a", "rows": -1}, "config.rows: minimum is 0"),
        ({"stream": "a", "rows": 1, "rowz": SECRET}, "additionalProperties is False"),
    ):
        with pytest.raises(InvalidBody) as refused:
            await world.source("toy", **config)
        assert why in refused.value.detail
        assert SECRET not in str(refused.value.__dict__)
    assert await world.service.sources() == before


async def test_an_incremental_sync_goes_on_where_the_last_one_ended(world: World) -> None:
    toy = await make(world, INCREMENTAL, rows=25)
    first = await toy.sync()
    [state] = (await toy.manifest()).state.values()
    assert state["stream"]["stream_state"] == {"n": 25}
    second = await toy.sync()
    assert await toy.rows() == list(range(1, 26))
    assert [run.output.rows_written for run in (first, second) if run.output] == [25, 0]


async def test_half_a_sync_is_never_seen_and_leaves_nothing(world: World) -> None:
    toy = await make(world, rows=50, hang_after=45)
    run = await toy.start()
    [process] = await eventually(some_connector)
    found = await world.manifests.resolve(toy.path)
    assert found is not None
    assert found.files == (), "the path belongs to the ingestion before it has a file"
    process.kill()
    ended = await world.runs.wait(run.run_id, 30)
    assert ended.state is RunState.FAILED
    assert await toy.rows() == []
    assert await world.keys(toy.path) == set()


async def test_a_killed_incremental_sync_is_resumed_from_its_last_state(world: World) -> None:
    toy = await make(world, INCREMENTAL, rows=50, stop_file=str(world.data / "stop"))
    stop = world.write("stop", "45")
    run = await toy.start()

    async def checkpointed() -> bool:
        manifest = await world.manifests.get(toy.ingestion.id)
        pending = manifest.pending if manifest else None
        return pending is not None and sum(f.rows for f in pending.files[toy.path]) == 40

    await eventually(checkpointed)
    assert await toy.rows() == [], "a checkpoint is not a complete sync"
    [connector] = connectors()
    worker = connector.parent()
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    ended = await world.runs.wait(run.run_id, 30)
    assert ended.failure is not None
    assert ended.failure.retryable
    await eventually(no_connector)
    stop.unlink()
    resumed = await toy.sync()
    assert resumed.state is RunState.SUCCEEDED, resumed.failure
    assert "going on after 40 rows" in await world.runs.logs(resumed.run_id)
    assert await toy.rows() == list(range(1, 51))
    found = await world.manifests.resolve(toy.path)
    assert found is not None
    assert found.run_ids == (run.run_id, resumed.run_id)
    assert await world.keys(toy.path) == set(found.files)


async def test_a_failed_sync_says_why_and_keeps_its_checkpoint(world: World) -> None:
    toy = await make(world, INCREMENTAL, rows=50, fail_after=45)
    for _ in range(2):
        failed = await toy.sync()
        assert failed.state is RunState.FAILED
        assert failed.failure is not None
        assert "no more after 45" in failed.failure.message
        assert await toy.rows() == []
    assert "from 40" in await world.runs.logs(failed.run_id)
    pending = (await toy.manifest()).pending
    assert pending is not None
    assert await world.keys(toy.path) == {file.key for file in pending.files[toy.path]}


async def test_a_cancelled_sync_ends_its_connector(world: World) -> None:
    toy = await make(world, rows=10, hang_after=5)
    run = await toy.start()
    await eventually(some_connector)
    await world.runs.cancel(run.run_id, CALLER)
    assert (await world.runs.wait(run.run_id, 30)).state is RunState.CANCELLED
    await eventually(no_connector)
    spool = world.lakehouse.home / "spool"
    assert not [path for path in spool.iterdir() if path.name.startswith(run.run_id)]


async def test_a_running_sync_is_joined_and_holds_its_ingestion(world: World) -> None:
    toy = await make(world, rows=10, hang_after=5)
    first = await toy.start()
    second = await toy.start()
    assert second.run_id == first.run_id
    change = IngestionChange(streams=(stream(f"{toy.ingestion.streams[0].name}_more"),))
    for refused in (
        world.service.delete_ingestion(toy.ingestion.id, CALLER),
        world.service.update_ingestion(toy.ingestion.id, change, CALLER),
    ):
        with pytest.raises(Conflict) as conflict:
            await refused
        assert conflict.value.members["conflicting_id"] == first.run_id
    await world.runs.cancel(first.run_id, CALLER)
    await world.runs.wait(first.run_id, 30)


async def test_settling_finds_a_commit_and_sweeps_what_is_none(world: World) -> None:
    toy = await make(world, rows=3)
    run = await toy.sync()
    settled = await world.engine.settle_sync(run, toy.ingestion.id)
    assert settled is not None
    assert settled.output == run.output
    dead = run.model_copy(update={"run_id": uuid4().hex})
    held = await world.manifests.begin(toy.ingestion.id, dead.run_id, "toy", [toy.path])
    assert held.manifest.writing is not None
    orphan = held.manifest.writing.key(toy.path, 0)
    await world.lakehouse.store.put(orphan, b"half a file")
    assert await toy.rows() == [1, 2, 3]
    for _ in range(2):
        assert await world.engine.settle_sync(dead, toy.ingestion.id) is None
    assert orphan not in await world.keys(toy.path)
    assert await toy.rows() == [1, 2, 3]


async def test_two_ingestions_never_write_one_path(world: World) -> None:
    toy = await make(world, rows=1)
    name = toy.ingestion.streams[0].name
    other = await world.source("toy", rows=2, stream=name)
    with pytest.raises(Conflict) as conflict:
        await world.ingestion(other, stream(name))
    assert conflict.value.members["conflicting_id"] == toy.ingestion.id
    more = await world.ingestion(other, stream(f"{name}_more"))
    change = IngestionChange(streams=(stream(name),))
    with pytest.raises(Conflict):
        await world.service.update_ingestion(more.id, change, CALLER)


async def test_what_a_deleted_ingestion_wrote_stays_until_another_writes_there(
    world: World,
) -> None:
    former = await make(world, rows=2)
    name = former.ingestion.streams[0].name
    await former.sync()
    await world.service.delete_ingestion(former.ingestion.id, CALLER)
    assert await former.rows() == [1, 2]
    successor = await make(world, rows=5, hang_after=4, stream=name)
    assert await successor.rows() == [1, 2]
    run = await successor.start()
    await eventually(some_connector)
    await world.runs.cancel(run.run_id, CALLER)
    await world.runs.wait(run.run_id, 30)
    assert await successor.rows() == [1, 2]
    await world.service.delete_ingestion(successor.ingestion.id, CALLER)
    last = await make(world, rows=1, stream=name)
    await last.sync()
    assert await last.rows() == [1]


async def test_an_inactive_ingestion_does_not_sync(world: World) -> None:
    toy = await make(world, rows=1)
    change = IngestionChange(status=IngestionStatus.INACTIVE, name="asleep")
    changed = await world.service.update_ingestion(toy.ingestion.id, change, CALLER)
    assert (changed.name, changed.status) == ("asleep", IngestionStatus.INACTIVE)
    assert changed.streams == toy.ingestion.streams
    with pytest.raises(Conflict, match="inactive"):
        await toy.sync()


async def test_what_an_ingestion_uses_is_not_deleted(world: World) -> None:
    toy = await make(world, rows=1)
    with pytest.raises(Conflict) as conflict:
        await world.service.delete_source(toy.ingestion.source_id, CALLER)
    assert conflict.value.members["conflicting_id"] == toy.ingestion.id
    with pytest.raises(Conflict, match="destination is used by"):
        await world.service.delete_destination(toy.ingestion.destination_id, CALLER)


async def test_secrets_are_in_no_record_log_or_object(world: World) -> None:
    renewed = "renewed-s3cret"
    toy = await make(world, rows=9, password=SECRET, renewed_password=renewed, fail_after=9)
    source = await world.service.source(toy.ingestion.source_id)
    assert source.config["password"] == source.config["renewed_password"] == "**********"
    run = await toy.sync()
    assert run.failure is not None
    assert run.failure.message.endswith("no more after 9, **********")
    log = await world.runs.logs(run.run_id)
    assert "from 0 with **********" in log
    assert "stderr knows **********" in log
    file = world.lakehouse.home / "secrets" / "sources.json"
    assert file.stat().st_mode & 0o777 == 0o600
    # The connector renewed its password, and the next run is given the new one.
    assert file.read_text().count(renewed) == 2
    texts = [log, run.model_dump_json()]
    for info in await world.lakehouse.store.list("asgard/"):
        stored = await world.lakehouse.store.get(info.key)
        texts.append(stored.body.decode(errors="replace") if stored else "")
    table = await world.lakehouse.catalog.run(
        lambda catalog: catalog.load_table("asgard.sources").scan().to_arrow().to_pylist()
    )
    assert source.id in str(table)
    texts.append(str(table))
    for path in (world.lakehouse.home / "logs").rglob("*"):
        texts.append(path.read_text(errors="replace") if path.is_file() else "")
    for secret in (SECRET, renewed):
        assert not any(secret in text for text in texts)
    await world.service.delete_ingestion(toy.ingestion.id, CALLER)
    await world.service.delete_source(source.id, CALLER)
    assert renewed not in file.read_text()
