"""Rows are counted by the footers of Parquet files, and only those are read."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.errors import EngineUnreachable
from app.lakehouse.bronze.footers import READERS, ParquetFooters
from app.lakehouse.connection import S3Connection
from app.lakehouse.storage import ObjectInfo
from tests.http_server import Asked, Reply, replying

AT = datetime(2026, 1, 1, tzinfo=UTC)


def parquet(rows: int, columns: int = 1) -> bytes:
    buffer = io.BytesIO()
    column = pa.array([f"{n:0200}" for n in range(rows)])
    pq.write_table(
        pa.table({f"column_{number}": column for number in range(columns)}),
        buffer,
        compression="none",
        use_dictionary=False,
    )
    return buffer.getvalue()


def info(key: str, body: bytes) -> ObjectInfo:
    return ObjectInfo(key, len(body), '"etag"', AT)


class Bucket:
    """An S3 server that holds one body for every key, and counts the bytes that it sends."""

    def __init__(self, body: bytes, before: Callable[[], None] = lambda: None) -> None:
        self.body = body
        self.before = before
        self.sent = 0

    def __call__(self, asked: Asked) -> Reply:
        if asked.method == "HEAD":
            return Reply(200, self.body)
        self.before()
        first, _, last = asked.headers["Range"].removeprefix("bytes=").partition("-")
        part = self.body[int(first) : int(last) + 1]
        self.sent += len(part)
        return Reply(206, part, {"Content-Range": f"bytes {first}-{last}/{len(self.body)}"})


class Server:
    """Answers as the bucket of the current test, so that all tests share one worker."""

    bucket: Callable[[Asked], Reply]

    def __call__(self, asked: Asked) -> Reply:
        return self.bucket(asked)


@dataclass
class Footers:
    server: Server
    counting: ParquetFooters

    async def rows(self, bucket: Callable[[Asked], Reply], *infos: ObjectInfo) -> dict[str, Any]:
        self.server.bucket = bucket
        return await asyncio.wait_for(self.counting.rows(infos), 60)

    async def of(self, bucket: Bucket) -> int | None:
        counted: dict[str, int | None] = await self.rows(bucket, info("a.parquet", bucket.body))
        return counted["a.parquet"]


@pytest.fixture(scope="module")
async def footers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Footers]:
    log = tmp_path_factory.mktemp("footers") / "footers.log"
    with replying(server := Server()) as port:
        connection = S3Connection(f"http://127.0.0.1:{port}", "us-east-1", "key", "secret", "lake")
        counting = ParquetFooters(connection, log)
        yield Footers(server, counting)
        await counting.close()


async def test_only_the_footer_of_a_large_file_is_read(footers: Footers) -> None:
    bucket = Bucket(parquet(20_000))
    assert len(bucket.body) > 4_000_000
    assert await footers.of(bucket) == 20_000
    assert bucket.sent <= 64 * 1024


async def test_a_footer_longer_than_the_first_read_is_read_whole(footers: Footers) -> None:
    bucket = Bucket(parquet(3, columns=3_000))
    length = int.from_bytes(bucket.body[-8:-4], "little")
    assert length > 64 * 1024
    assert await footers.of(bucket) == 3
    assert bucket.sent <= length + 8 + 64 * 1024


async def test_many_footers_are_read_at_once(footers: Footers) -> None:
    together = threading.Barrier(READERS)
    bucket = Bucket(parquet(2), lambda: together.wait(20) and None)
    keys = [f"{number}.parquet" for number in range(2 * READERS)]
    counted = await footers.rows(bucket, *(info(key, bucket.body) for key in keys))
    assert counted == dict.fromkeys(keys, 2)


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"PAR1",
        b"n,name\n1,ada\n",
        parquet(3)[:-1],
        b"PAR1" + (2**31).to_bytes(4, "little") + b"PAR1",
        b"PAR1" + b"\xff" * 64 + (64).to_bytes(4, "little") + b"PAR1",
        b"PAR1" + bytes(4) + b"PAR1",
    ],
)
async def test_what_is_not_parquet_has_no_count(footers: Footers, body: bytes) -> None:
    assert await footers.of(Bucket(body)) is None


async def test_an_empty_file_has_no_count_and_is_not_read(footers: Footers) -> None:
    assert await footers.of(bucket := Bucket(b"")) is None
    assert bucket.sent == 0


async def test_an_outage_is_not_taken_for_damage(footers: Footers) -> None:
    with pytest.raises(EngineUnreachable, match="S3"):
        await footers.rows(lambda _: Reply(403), info("a.parquet", parquet(2)))


def with_footer_bytes(changed: Callable[[bytes], bytes]) -> bytes:
    whole = parquet(3, columns=2)
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    return whole[:end] + changed(whole[end:-8]) + whole[-8:]


@pytest.mark.parametrize(
    "body",
    [
        # Arrow's message quotes the name, which is no text any more.
        with_footer_bytes(lambda footer: footer.replace(b"column_0", b"column_\xff")),
        # -3 instead of 3 rows, as a zigzag varint.
        with_footer_bytes(lambda footer: footer.replace(b"\x16\x06", b"\x16\x05", 1)),
    ],
    ids=["a name that is no text", "a negative number of rows"],
)
async def test_a_changed_byte_is_damage(footers: Footers, body: bytes) -> None:
    assert body != parquet(3, columns=2)
    assert await footers.of(Bucket(body)) is None


async def test_a_footer_that_would_take_much_memory_is_not_read(footers: Footers) -> None:
    body = b"PAR1" + bytes(5 * 1024**2) + (5 * 1024**2).to_bytes(4, "little") + b"PAR1"
    bucket = Bucket(body)
    assert await footers.of(bucket) is None
    assert bucket.sent <= 64 * 1024


async def test_a_worker_that_dies_is_replaced(footers: Footers) -> None:
    assert await footers.of(Bucket(parquet(3))) == 3
    [worker] = [
        process
        for process in psutil.Process().children(recursive=True)
        if "app.lakehouse.bronze.footer_worker" in process.cmdline()
    ]
    worker.kill()
    assert await footers.of(Bucket(parquet(4))) == 4
