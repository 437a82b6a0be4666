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

from app.errors import EngineUnreachable
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.publish import publish
from app.lakehouse.publish.leftovers import Leftovers


@dataclass
class LateCommit:
    """A catalog that receives one commit late, after its sender has lost the connection."""

    lake: Lake
    arrive: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Future[bytes] = field(default_factory=asyncio.Future)

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
    yield held
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
        with pytest.raises(EngineUnreachable):
            await append(Catalog(held.lake), table, run_id, 3)
        assert await read(lakehouse.catalog, table) == [1, 2]
        await leftovers.note(table, run_id)
        assert b" 200 " in await held.made()
    assert await read(lakehouse.catalog, table) == [1, 2, 3]
    await append(lakehouse.catalog, table, uuid4().hex, 4)
    await leftovers.sweep(table)
    assert await read(lakehouse.catalog, table) == [1, 2, 3, 4]


async def test_a_commit_after_another_ones_is_refused_and_its_files_are_deleted(
    lakehouse, table, leftovers
):
    run_id = uuid4().hex
    async with late_commit(lakehouse.lake, table) as held:
        with pytest.raises(EngineUnreachable):
            await append(Catalog(held.lake), table, run_id, 3)
        await leftovers.note(table, run_id)
        assert len(await files_of(lakehouse.catalog, table, run_id)) == 1
        await append(lakehouse.catalog, table, uuid4().hex, 4)
        await leftovers.sweep(table)
        assert await files_of(lakehouse.catalog, table, run_id) == []
        assert b" 409 " in await held.made()
    assert await read(lakehouse.catalog, table) == [1, 2, 4]
    assert await lakehouse.store.list(f"asgard/leftovers/{table}/") == []
