"""Records are never lost, doubled or overwritten by concurrent writers."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import structlog
from pydantic import BaseModel, ValidationError

from app.caller import Caller
from app.errors import Conflict, EngineUnreachable, Gone, InvalidBody, NotFound, VersionMismatch
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.records import log as record_log
from app.lakehouse.records import shared_log
from app.lakehouse.records.log import CommitResult, RecordLog
from app.lakehouse.records.state import Records
from app.lakehouse.records.table import RecordTable
from tests.harnesses.runs_processes import FORKS, create_records

THEM = Caller("them")


class Doc(BaseModel):
    name: str
    number: int = 0


@pytest.fixture
def kind() -> str:
    return f"things_{uuid4().hex[:8]}"


@pytest.fixture
def table(lakehouse, kind) -> RecordTable[Doc]:
    return RecordTable(lakehouse.catalog, kind, Doc)


@pytest.fixture
def other(lakehouse, kind) -> RecordTable[Doc]:
    """Return another replica's view of the same table."""
    return RecordTable(lakehouse.catalog, kind, Doc)


def unique(name: str):
    def check(_: Doc, records: Records[Doc]) -> None:
        for record in records:
            if record.doc.name == name:
                raise Conflict(f"{name} is taken", conflicting_id=record.id)

    return check


def rename(name: str):
    return lambda doc: doc.model_copy(update={"name": name})


async def test_one_replica_reads_what_another_wrote(table, other):
    written = await table.insert("a", Doc(name="one"), "me")
    assert (written.version, written.created_by, written.doc) == (1, "me", Doc(name="one"))
    assert await other.get("a") == written
    changed = await other.update("a", rename("two"), THEM)
    assert (changed.version, changed.created_by, changed.doc.name) == (2, "me", "two")
    assert changed.created_at == written.created_at < changed.updated_at
    assert await table.all() == [changed]


async def test_history_stays_in_the_table_for_queries(lakehouse, table, kind):
    await table.insert("a", Doc(name="one"), "me")
    await table.update("a", rename("two"), THEM)
    await table.delete("a", THEM)
    rows = await lakehouse.catalog.run(
        lambda catalog: catalog.load_table(f"asgard.{kind}").scan().to_arrow().to_pylist()
    )
    rows.sort(key=lambda row: row["version"])
    assert [(row["version"], row["op"], row["updated_by"]) for row in rows] == [
        (1, "put", "me"),
        (2, "put", "them"),
        (3, "delete", "them"),
    ]


async def test_a_deleted_record_is_gone_and_its_id_returns_only_on_request(table, other):
    await table.insert("a", Doc(name="one"), "me")
    await table.delete("a", THEM)
    assert await table.get("a") is None
    assert await other.get("a") is None
    with pytest.raises(NotFound):
        await other.delete("a", THEM)
    for view in (table, other):
        with pytest.raises(Gone) as refused:
            await view.insert("a", Doc(name="again"), "you")
        assert refused.value.members == {"deleted_id": "a"}
    again = await other.insert("a", Doc(name="again"), "you", again=True)
    assert (again.version, again.created_by) == (3, "you")
    assert await table.get("a") == again


async def test_an_id_that_exists_is_a_conflict(table, other):
    await table.insert("a", Doc(name="one"), "me")
    with pytest.raises(Conflict) as refused:
        await other.insert("a", Doc(name="two"), "me")
    assert refused.value.members == {"conflicting_id": "a"}
    assert (await table.get("a")).doc.name == "one"


async def test_a_write_on_an_old_version_is_refused(table, other):
    await table.insert("a", Doc(name="one"), "me")
    await other.update("a", rename("two"), THEM, expected_version=1)
    for late in (
        table.update("a", rename("three"), THEM, expected_version=1),
        table.delete("a", THEM, expected_version=1),
    ):
        with pytest.raises(VersionMismatch) as refused:
            await late
        assert refused.value.members == {"current_version": 2}
    assert (await table.get("a")).doc.name == "two"


async def test_a_refused_check_writes_nothing(lakehouse, table, kind):
    await table.insert("a", Doc(name="one"), "me")
    before = await lakehouse.catalog.table(f"asgard.{kind}")
    with pytest.raises(Conflict):
        await table.insert("b", Doc(name="one"), "me", unique("one"))
    assert await lakehouse.catalog.table(f"asgard.{kind}") == before


async def test_no_increment_of_concurrent_writers_is_lost(table, other):
    await table.insert("a", Doc(name="counter"), "me")

    def increment(doc: Doc) -> Doc:
        return doc.model_copy(update={"number": doc.number + 1})

    await asyncio.gather(
        *(view.update("a", increment, THEM) for view in (table, other) for _ in range(6))
    )
    record = await table.get("a")
    assert (record.doc.number, record.version) == (12, 13)


async def test_200_concurrent_creates_of_two_processes_give_each_name_once(lakehouse, table, kind):
    names = [f"name{number}" for number in range(25)]
    answers, processes = [], []
    for seed in (1, 2):
        requested = names * 4
        random.Random(seed).shuffle(requested)
        here, there = FORKS.Pipe()
        processes.append(
            FORKS.Process(
                target=create_records, args=(lakehouse.lake.to_json(), kind, requested, there)
            )
        )
        answers.append(here)
    for process in processes:
        process.start()
    outcomes = await asyncio.gather(*(asyncio.to_thread(answer.recv) for answer in answers))
    for process in processes:
        await asyncio.to_thread(process.join)
    created = {record_id: name for outcome in outcomes for record_id, name in outcome if record_id}
    assert sum(len(outcome) for outcome in outcomes) == 200
    assert Counter(created.values()) == dict.fromkeys(names, 1)
    assert {record.id: record.doc.name for record in await table.all()} == created


@asynccontextmanager
async def losing_one_answer(lake: Lake, path: bytes) -> AsyncIterator[Lake]:
    """The lake with its catalog behind a proxy, which loses the answer to one POST to `path`."""
    url = urlsplit(lake.catalog.uri)
    host, port = url.hostname, url.port
    lost = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, sending = await asyncio.open_connection(host, port)
        losing = asyncio.Event()

        async def forward() -> None:
            while data := await reader.read(65536):
                if data.startswith(b"POST ") and path in data and not lost.is_set():
                    lost.set()
                    losing.set()
                sending.write(data)
            sending.close()

        async def answer() -> None:
            while (data := await behind.read(65536)) and not losing.is_set():
                writer.write(data)
            writer.close()

        await asyncio.gather(forward(), answer())

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{url.path}"
    yield replace(lake, catalog=replace(lake.catalog, uri=uri))
    assert lost.is_set()
    server.close()


async def test_a_commit_whose_answer_was_lost_is_found_and_not_repeated(lakehouse, table, kind):
    await table.open()
    async with losing_one_answer(lakehouse.lake, f"/tables/{kind}".encode()) as lake:
        unlucky = RecordTable(Catalog(lake), kind, Doc)
        record = await unlucky.insert("a", Doc(name="one"), "me")
        changed = await unlucky.update("a", rename("two"), THEM)
    assert (record.version, changed.version) == (1, 2)
    assert await table.all() == [changed]
    rows = await lakehouse.catalog.run(
        lambda catalog: catalog.load_table(f"asgard.{kind}").scan().to_arrow().num_rows
    )
    assert rows == 2


async def test_a_commit_that_readers_saw_first_is_not_repeated(lakehouse, table, kind):
    """Readers of the same process find the row before its writer asks again."""
    await table.open()
    async with losing_one_answer(lakehouse.lake, f"/tables/{kind}".encode()) as lake:
        unlucky = RecordTable(Catalog(lake), kind, Doc)

        async def read() -> None:
            while await unlucky.get("a") is None:
                pass

        reading = [asyncio.create_task(read()) for _ in range(4)]
        record = await unlucky.insert("a", Doc(name="one"), "me")
        await asyncio.gather(*reading)
    assert (record.version, record.doc.name) == (1, "one")
    assert await table.all() == [record]


async def test_a_writer_that_never_wins_gives_up_with_503(table, monkeypatch):
    await table.open()
    monkeypatch.setattr(shared_log, "WRITE_TIMEOUT", 0.1)
    monkeypatch.setattr(RecordLog, "append", lambda *_: CommitResult.STALE)
    with pytest.raises(EngineUnreachable, match="too busy"):
        await table.insert("a", Doc(name="one"), "me")


async def test_snapshots_expire_without_losing_records(lakehouse, table, other, kind, monkeypatch):
    monkeypatch.setattr(record_log, "KEPT_SNAPSHOTS", 3)
    monkeypatch.setattr(record_log, "EXPIRE_EVERY", 5)
    for number in range(15):
        await table.insert(f"r{number}", Doc(name=f"n{number}"), "me")

    def snapshots(catalog) -> int:
        return len(catalog.load_table(f"asgard.{kind}").metadata.snapshots)

    assert await lakehouse.catalog.run(snapshots) <= 9
    assert {record.id for record in await other.all()} == {f"r{number}" for number in range(15)}


async def test_a_dropped_table_is_created_again_and_its_records_are_forgotten(
    lakehouse, table, kind
):
    await table.insert("a", Doc(name="one"), "me")
    await lakehouse.catalog.drop_table(f"asgard.{kind}")
    assert await table.all() == []
    assert (await table.insert("a", Doc(name="two"), "me")).version == 1


async def test_readers_share_one_request_to_the_catalog(table, monkeypatch):
    await table.insert("a", Doc(name="one"), "me")
    requests = []
    refresh = RecordLog.refresh
    monkeypatch.setattr(
        RecordLog, "refresh", lambda self, catalog: requests.append(1) or refresh(self, catalog)
    )
    records = await asyncio.gather(*(table.get("a") for _ in range(50)))
    assert {record.doc.name for record in records} == {"one"}
    assert len(requests) <= 2


async def test_a_cancelled_writer_leaves_the_table_in_order(table, other):
    await table.open()
    writing = asyncio.create_task(table.insert("a", Doc(name="one"), "me"))
    await asyncio.sleep(0.005)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await table.insert("b", Doc(name="two"), "me")
    assert {record.id for record in await table.all()} >= {"b"}
    assert await table.all() == await other.all()


class FreeDoc(Doc):
    more: dict[str, Any] = {}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"in": value}
    return value


async def test_a_document_that_could_not_be_read_again_is_refused(lakehouse, kind):
    table = RecordTable(lakehouse.catalog, kind, FreeDoc)
    await table.insert("a", FreeDoc(name="one"), "me")
    with pytest.raises(InvalidBody, match="cannot be stored"):
        await table.insert("deep", FreeDoc(name="deep", more=nested(220)), "me")
    await table.insert("b", FreeDoc(name="two"), "me")
    reopened = RecordTable(lakehouse.catalog, kind, FreeDoc)
    assert [record.id for record in await reopened.all()] == ["a", "b"]


async def test_a_row_that_cannot_be_read_does_not_hide_others(lakehouse, kind, monkeypatch):
    table = RecordTable(lakehouse.catalog, kind, Doc)
    await table.insert("a", Doc(name="one"), "me")
    monkeypatch.setattr(table, "_json", lambda _: '{"name": 1')
    with pytest.raises(ValidationError):
        await table.insert("broken", Doc(name="broken"), "me")
    monkeypatch.undo()
    await table.insert("b", Doc(name="two"), "me")
    reopened = RecordTable(lakehouse.catalog, kind, Doc)
    with structlog.testing.capture_logs() as logged:
        assert [record.id for record in await reopened.all()] == ["a", "b"]
    assert [(line["event"], line["id"], line["version"]) for line in logged] == [
        ("record_unreadable", "broken", 1)
    ]
    # The id is free again, above the version that cannot be read.
    assert (await reopened.insert("broken", Doc(name="whole"), "me")).version == 2
    assert [record.id for record in await reopened.all()] == ["a", "b", "broken"]


@pytest.mark.parametrize("applied", [0, 1])
async def test_rows_that_could_not_be_applied_are_passed_again(table, other, monkeypatch, applied):
    """Also if rows before them were applied, now or earlier."""
    await table.insert("a", Doc(name="one"), "me")
    assert await other.get("a") is not None
    await table.insert("b", Doc(name="two"), "me")
    await table.insert("c", Doc(name="three"), "me")
    put = other._records._put
    rows: list[object] = []

    def fail(row: object) -> object:
        rows.append(row)
        if len(rows) > applied:
            raise MemoryError
        return put(row)

    with monkeypatch.context() as patch:
        patch.setattr(other._records, "_put", fail)
        with pytest.raises(MemoryError):
            await other.all()
    assert [record.id for record in await other.all()] == ["a", "b", "c"]


async def test_a_deleted_record_stays_deleted_if_a_newer_one_cannot_be_read(
    table, other, monkeypatch
):
    await table.insert("a", Doc(name="one"), "me")
    assert await other.get("a") is not None
    await table.delete("a", THEM)
    monkeypatch.setattr(table, "_json", lambda _: '{"name": 1')
    with pytest.raises(ValidationError):
        await table.insert("a", Doc(name="broken"), "me", again=True)
    monkeypatch.undo()
    assert await other.get("a") is None


async def commits(lakehouse, kind: str) -> int:
    """Return how many commits wrote to the table. Nessie shows only the newest snapshot."""
    table = await lakehouse.catalog.run(lambda c: c.load_table(f"asgard.{kind}"))
    return table.metadata.last_sequence_number


async def test_writes_that_wait_at_the_same_time_share_a_commit(lakehouse, table, kind):
    await table.insert("first", Doc(name="first"), "me")
    before = await commits(lakehouse, kind)
    names = [f"name {number}" for number in range(50)]
    made = await asyncio.gather(
        *(table.insert(name, Doc(name=name), "me", unique(name)) for name in names)
    )
    assert [record.doc.name for record in made] == names
    # The first write does not wait for others.
    assert await commits(lakehouse, kind) - before == 2
    assert {record.id for record in await table.all()} == {"first", *names}


async def test_a_write_counts_those_before_it_in_its_commit(table, other):
    await table.insert("first", Doc(name="first"), "me")
    made = await asyncio.gather(
        table.insert("leader", Doc(name="leader"), "me"),
        table.insert("a", Doc(name="taken"), "me", unique("taken")),
        table.insert("b", Doc(name="taken"), "me", unique("taken")),
        table.insert("a", Doc(name="again"), "me"),
        table.update("a", rename("renamed"), THEM),
        table.insert("c", Doc(name="taken"), "me", unique("taken")),
        table.update("a", rename("stale"), THEM, expected_version=1),
        table.delete("first", THEM),
        table.update("first", rename("gone"), THEM),
        return_exceptions=True,
    )
    kinds = [type(result).__name__ for result in made]
    assert kinds == [
        *("Record", "Record", "Conflict", "Conflict", "Record", "Record"),
        *("VersionMismatch", "NoneType", "NotFound"),
    ]
    assert made[2].members["conflicting_id"] == "a"
    for replica in (table, other):
        found = {record.id: (record.version, record.doc.name) for record in await replica.all()}
        assert found == {"leader": (1, "leader"), "a": (2, "renamed"), "c": (1, "taken")}


async def test_a_refusal_by_a_row_that_is_not_committed_does_not_count(table, other, monkeypatch):
    await table.insert("first", Doc(name="first"), "me")
    append, calls = table._log._log.append, 0

    def failing(rows, commit_id):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise EngineUnreachable("The catalog is gone.", dependency="catalog")
        return append(rows, commit_id)

    monkeypatch.setattr(table._log._log, "append", failing)
    made = await asyncio.gather(
        table.insert("leader", Doc(name="leader"), "me"),
        table.insert("a", Doc(name="taken"), "me", unique("taken")),
        table.insert("b", Doc(name="taken"), "me", unique("taken")),
        return_exceptions=True,
    )
    names = [type(result).__name__ for result in made]
    assert names == ["Record", "EngineUnreachable", "EngineUnreachable"]
    assert (await table.insert("b", Doc(name="taken"), "me", unique("taken"))).version == 1
    assert {record.id for record in await other.all()} == {"first", "leader", "b"}


async def test_a_lost_race_is_tried_again_by_every_write_of_the_commit(table, other, monkeypatch):
    await table.insert("first", Doc(name="first"), "me")
    append, calls = table._log._log.append, 0
    loop = asyncio.get_running_loop()

    def overtaken(rows, commit_id):
        nonlocal calls
        calls += 1
        if calls == 2:
            rival = other.insert("rival", Doc(name="taken"), "me", unique("taken"))
            asyncio.run_coroutine_threadsafe(rival, loop).result()
        return append(rows, commit_id)

    monkeypatch.setattr(table._log._log, "append", overtaken)
    made = await asyncio.gather(
        table.insert("leader", Doc(name="leader"), "me"),
        table.insert("a", Doc(name="taken"), "me", unique("taken")),
        table.insert("b", Doc(name="free"), "me", unique("free")),
        return_exceptions=True,
    )
    assert [type(result).__name__ for result in made] == ["Record", "Conflict", "Record"]
    assert made[1].members["conflicting_id"] == "rival"
    assert {record.id for record in await table.all()} == {"first", "leader", "rival", "b"}
