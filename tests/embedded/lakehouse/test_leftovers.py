"""A commit that arrives after its sender gave up never finds its files deleted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from app.errors import EngineUnreachable
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.publish import publish
from app.lakehouse.publish.leftovers import Leftovers
from tests.ports import free_port


@dataclass
class LateCommit:
    """A catalog that receives one commit late, after its sender has lost the connection."""

    lake: Lake
    arrive: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Future[bytes] = field(default_factory=asyncio.Future)

    async def lose_the_connection(self, table: str, run_id: str, *values: int) -> None:
        """Append the values. The commit is held, and its sender gives up."""
        with pytest.raises(EngineUnreachable):
            await append(Catalog(self.lake), table, run_id, *values)

    async def made(self) -> bytes:
        """Let it arrive. Return the catalog's answer."""
        self.arrive.set()
        return await self.answered


async def _rest_of_body(data: bytes, reader: asyncio.StreamReader) -> bytes:
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    return await reader.readexactly(length - len(body))


@asynccontextmanager
async def late_commit(lake: Lake, table: str) -> AsyncIterator[LateCommit]:
    url = urlsplit(lake.catalog.uri)
    path = f"/tables/{table.partition('.')[2]} ".encode()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, sending = await asyncio.open_connection(url.hostname, url.port)

        async def answer() -> None:
            while data := await behind.read(1 << 20):
                writer.write(data)

        answering = asyncio.create_task(answer())
        while data := await reader.read(1 << 20):
            if not (data.startswith(b"POST ") and path in data):
                sending.write(data)
                continue
            request = data + await _rest_of_body(data, reader)
            answering.cancel()
            await asyncio.wait([answering])
            writer.transport.abort()
            await held.arrive.wait()
            sending.write(request)
            held.answered.set_result(await behind.readuntil(b"\r\n"))
            break
        answering.cancel()
        sending.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{url.path}"
    held = LateCommit(replace(lake, catalog=replace(lake.catalog, uri=uri)))
    try:
        yield held
    finally:
        held.arrive.set()
        server.close()


def rows(*values: int) -> pa.RecordBatchReader:
    table = pa.table({"a": values})
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches())


async def append(catalog: Catalog, table: str, run_id: str, *values: int) -> None:
    await catalog.run(lambda c: publish.append_table(c, table, rows(*values), run_id=run_id))


async def read(catalog: Catalog, table: str) -> list[int]:
    scanned = await catalog.run(lambda c: c.load_table(table).scan().to_arrow())
    return sorted(scanned["a"].to_pylist())


async def files_of(catalog: Catalog, table: str, run_id: str) -> list[str]:
    def listed(rest: Any) -> list[str]:
        from pyarrow.fs import FileSelector

        loaded = rest.load_table(table)
        scheme, netloc, path = loaded.io.parse_location(loaded.location())
        infos = loaded.io.fs_by_scheme(scheme, netloc).get_file_info(
            FileSelector(f"{path}/data", recursive=True)
        )
        return [info.base_name for info in infos if run_id in info.base_name]

    return await catalog.run(listed)


@pytest.fixture
async def table(lakehouse) -> AsyncIterator[str]:
    name = f"gold.leftovers_{uuid4().hex[:8]}"
    await append(lakehouse.catalog, name, uuid4().hex, 1, 2)
    yield name
    await lakehouse.catalog.drop_table(name)


@pytest.fixture
def leftovers(lakehouse) -> Leftovers:
    return Leftovers(lakehouse.store, lakehouse.catalog)


async def test_a_commit_that_arrives_late_finds_its_files(lakehouse, table, leftovers):
    run_id = uuid4().hex
    async with late_commit(lakehouse.lake, table) as held:
        await held.lose_the_connection(table, run_id, 3)
        assert await read(lakehouse.catalog, table) == [1, 2]
        await leftovers.note(table, run_id)
        assert b" 200 " in await held.made()
    assert await read(lakehouse.catalog, table) == [1, 2, 3]
    await append(lakehouse.catalog, table, uuid4().hex, 4)
    await leftovers.sweep(table)
    assert await read(lakehouse.catalog, table) == [1, 2, 3, 4]
    assert await lakehouse.store.list(f"asgard/leftovers/{table}/") == []


async def test_a_late_commit_that_was_replaced_keeps_its_files_in_the_history(
    lakehouse, table, leftovers
):
    run_id = uuid4().hex
    async with late_commit(lakehouse.lake, table) as held:
        await held.lose_the_connection(table, run_id, 3)
        await leftovers.note(table, run_id)
        assert b" 200 " in await held.made()
    await lakehouse.catalog.run(
        lambda c: publish.replace_table(c, table, rows(9), run_id=uuid4().hex)
    )
    await leftovers.sweep(table)

    def of_the_late_commit(catalog: Any) -> list[int]:
        loaded = catalog.load_table(table)
        [late] = [s for s in loaded.snapshots() if s.summary["asgard.run_id"] == run_id]
        scanned = loaded.scan(snapshot_id=late.snapshot_id).to_arrow()
        return sorted(scanned["a"].to_pylist())

    assert await lakehouse.catalog.run(of_the_late_commit) == [1, 2, 3]
    assert await read(lakehouse.catalog, table) == [9]


async def test_files_stay_where_the_catalog_forbids_to_delete_them(lakehouse, table, leftovers):
    """Nessie shows only the newest snapshot, and others may need the files."""
    run_id = uuid4().hex
    async with late_commit(lakehouse.lake, table) as held:
        await held.lose_the_connection(table, run_id, 3)
        await lakehouse.catalog.run(
            lambda c: (
                c.load_table(table)
                .transaction()
                .set_properties({"gc.enabled": "false"})
                .commit_transaction()
            )
        )
        await leftovers.note(table, run_id)
        await leftovers.sweep(table)
        assert len(await files_of(lakehouse.catalog, table, run_id)) == 1
        assert b" 200 " in await held.made()
    assert await read(lakehouse.catalog, table) == [1, 2, 3]


async def test_a_sweep_that_fails_raises_nothing_and_can_be_repeated(lakehouse, table, leftovers):
    run_id = uuid4().hex
    closed = replace(lakehouse.lake.catalog, uri=f"http://127.0.0.1:{free_port()}/")
    catalog = Catalog(replace(lakehouse.lake, catalog=closed))
    await leftovers.note(table, run_id)
    with capture_logs() as logged:
        await Leftovers(lakehouse.store, catalog).sweep(table)
    assert [entry["event"] for entry in logged] == ["leftovers_not_deleted"]
    assert len(await lakehouse.store.list(f"asgard/leftovers/{table}/")) == 1
    await leftovers.sweep(table)
    assert await lakehouse.store.list(f"asgard/leftovers/{table}/") == []


async def test_a_name_that_is_not_a_run_id_matches_no_file(lakehouse, table, leftovers):
    await lakehouse.store.put(f"asgard/leftovers/{table}/", b"")
    await lakehouse.store.put(f"asgard/leftovers/{table}/parquet", b"")
    await leftovers.sweep(table)
    assert await read(lakehouse.catalog, table) == [1, 2]


async def test_a_commit_after_that_of_another_run_is_refused_and_its_files_are_deleted(
    lakehouse, table, leftovers
):
    run_id = uuid4().hex
    async with late_commit(lakehouse.lake, table) as held:
        await held.lose_the_connection(table, run_id, 3)
        await leftovers.note(table, run_id)
        assert len(await files_of(lakehouse.catalog, table, run_id)) == 1
        await append(lakehouse.catalog, table, uuid4().hex, 4)
        await leftovers.sweep(table)
        assert await files_of(lakehouse.catalog, table, run_id) == []
        assert b" 409 " in await held.made()
    assert await read(lakehouse.catalog, table) == [1, 2, 4]
    assert await lakehouse.store.list(f"asgard/leftovers/{table}/") == []
