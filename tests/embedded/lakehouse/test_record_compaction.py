"""Compaction keeps tables of records small, and loses no record to writers beside it."""

import asyncio
import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from pydantic import BaseModel, model_validator

from app.caller import Caller
from app.errors import Gone
from app.lakehouse.catalog import Catalog
from app.lakehouse.records import compaction, shared_log
from app.lakehouse.records import log as record_log
from app.lakehouse.records.log import CommitResult
from app.lakehouse.records.table import RecordTable
from app.lakehouse.storage import open_client
from tests.patience import until

THEM = Caller("them")
BIG = "x" * 2_000


class Doc(BaseModel):
    number: int = 0
    text: str = ""


def increment(doc: Doc) -> Doc:
    return doc.model_copy(update={"number": doc.number + 1})


@pytest.fixture
def kind() -> str:
    return f"compacted_{uuid4().hex[:8]}"


@pytest.fixture
def table(lakehouse, kind, monkeypatch) -> RecordTable[Doc]:
    monkeypatch.setattr(record_log, "MOST_FILES", 6)
    monkeypatch.setattr(shared_log, "MAINTENANCE_PAUSE", 0.0)
    return RecordTable(lakehouse.catalog, kind, Doc)


def files_of(kind: str):
    def files(catalog) -> int:
        return len(compaction.live_files(catalog.load_table(f"asgard.{kind}")))

    return files


def rows_of(kind: str):
    def rows(catalog) -> list[dict]:
        return catalog.load_table(f"asgard.{kind}").scan().to_arrow().to_pylist()

    return rows


async def compacted(lakehouse, kind: str) -> None:
    async def is_compacted() -> bool:
        return await lakehouse.catalog.run(files_of(kind)) < record_log.MOST_FILES

    await until(is_compacted)


async def test_many_versions_become_one_row_of_each_record(lakehouse, table, kind, monkeypatch):
    monkeypatch.setattr(compaction, "COMMIT_IDS_KEPT", timedelta(0))
    await table.insert("gone", Doc(text=BIG), "me")
    await table.delete("gone", THEM)
    await table.insert("a", Doc(text=BIG), "me")
    for _ in range(20):
        await table.update("a", increment, THEM)
    await compacted(lakehouse, kind)
    rows = await lakehouse.catalog.run(rows_of(kind))
    assert len(rows) < 22
    assert [(row["version"], row["doc"]) for row in rows if row["id"] == "gone"] == [(2, "")]
    reopened = RecordTable(lakehouse.catalog, kind, Doc)
    assert [(r.id, r.version, r.doc.number) for r in await reopened.all()] == [("a", 21, 20)]
    with pytest.raises(Gone):
        await reopened.insert("gone", Doc(), "me")
    assert await reopened.get("a") == await table.get("a")


async def test_a_replica_that_read_no_small_file_reads_the_rewritten_one(lakehouse, table, kind):
    other = RecordTable(lakehouse.catalog, kind, Doc)
    await table.insert("a", Doc(), "me")
    assert (await other.get("a")).version == 1
    for number in range(9):
        await table.insert(f"r{number}", Doc(number=number), "me")
    await compacted(lakehouse, kind)
    assert await other.all() == await table.all()
    assert len(await other.all()) == 10


async def test_compactions_of_two_replicas_race_writers_without_losing_a_change(
    lakehouse, table, kind
):
    replicas = [table, RecordTable(Catalog(lakehouse.lake), kind, Doc)]
    await table.insert("counter", Doc(), "me")

    async def write(replica: RecordTable[Doc], name: str) -> None:
        for number in range(5):
            await replica.update("counter", increment, THEM)
            await replica.insert(f"{name}{number}", Doc(number=number), "me")

    await asyncio.gather(
        *(write(replica, f"{n}{m}-") for n, replica in enumerate(replicas) for m in range(3))
    )
    reopened = RecordTable(lakehouse.catalog, kind, Doc)
    for replica in (*replicas, reopened):
        counter = await replica.get("counter")
        assert (counter.doc.number, counter.version) == (30, 31)
        assert len(await replica.all()) == 31
    assert await lakehouse.catalog.run(files_of(kind)) < 30


async def test_replaced_files_are_deleted_once_no_snapshot_has_them(
    lakehouse, table, kind, monkeypatch
):
    monkeypatch.setattr(record_log, "READERS_DONE_AFTER", 0.0)
    monkeypatch.setattr(record_log, "KEPT_SNAPSHOTS", 3)
    monkeypatch.setattr(record_log, "EXPIRE_EVERY", 4)
    await table.insert("a", Doc(text=BIG), "me")

    location = await lakehouse.catalog.run(
        lambda catalog: catalog.load_table(f"asgard.{kind}").location()
    )
    bucket, _, folder = location.removeprefix("s3://").partition("/")

    def stored(_) -> int:
        pages = open_client(lakehouse.lake.s3).get_paginator("list_objects_v2")
        return sum(
            len(page.get("Contents", []))
            for page in pages.paginate(Bucket=bucket, Prefix=f"{folder}/data/")
        )

    for _ in range(60):
        await table.update("a", increment, THEM)

    async def is_small() -> bool:
        return await lakehouse.catalog.run(stored) < 45

    await until(is_small)
    assert (await RecordTable(lakehouse.catalog, kind, Doc).get("a")).doc.number == 60


async def test_a_rewrite_that_cannot_be_committed_leaves_no_file(
    lakehouse, table, kind, monkeypatch
):
    def fail(*_) -> None:
        raise OSError("S3 is full")

    files: list[str] = []
    write = compaction.rewrite

    def rewrite(table):
        done = write(table)
        files.extend(file.file_path for file in done.written)
        return done

    monkeypatch.setattr(compaction, "rewrite", rewrite)
    monkeypatch.setattr(compaction, "commit", fail)
    for number in range(6):
        await table.insert(f"r{number}", Doc(), "me")

    def left(catalog) -> list[str]:
        io = catalog.load_table(f"asgard.{kind}").io
        return [path for path in files if io.new_input(path).exists()]

    async def is_clean() -> bool:
        return bool(files) and not await lakehouse.catalog.run(left)

    await until(is_clean)
    assert len(await table.all()) == 6


async def test_a_rewrite_of_files_that_another_replica_replaced_is_given_up(
    lakehouse, table, kind, monkeypatch
):
    for number in range(5):
        await table.insert(f"r{number}", Doc(), "me")
    late = await lakehouse.catalog.run(table._log._log.rewrite)
    await table.insert("r5", Doc(), "me")
    await compacted(lakehouse, kind)
    assert await table._log._replace(late) is CommitResult.STALE
    await table._log._discard(late)
    reopened = RecordTable(lakehouse.catalog, kind, Doc)
    assert len(await reopened.all()) == 6


async def test_files_of_a_rewrite_that_is_in_the_table_are_not_discarded(lakehouse, table, kind):
    for number in range(5):
        await table.insert(f"r{number}", Doc(), "me")
    done = await lakehouse.catalog.run(table._log._log.rewrite)
    assert await table._log._replace(done) is CommitResult.DONE
    await table._log._discard(done)
    reopened = RecordTable(lakehouse.catalog, kind, Doc)
    assert len(await reopened.all()) == 5


async def test_records_are_parsed_in_a_thread(lakehouse, table, kind):
    threads: list[threading.Thread] = []

    class Seen(Doc):
        @model_validator(mode="after")
        def see(self) -> "Seen":
            threads.append(threading.current_thread())
            return self

    await table.insert("a", Doc(), "me")
    await table.insert("b", Doc(), "me")
    assert len(await RecordTable(lakehouse.catalog, kind, Seen).all()) == 2
    assert len(threads) == 2
    assert threading.main_thread() not in threads
