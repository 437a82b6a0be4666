"""Rows are counted by the footers of Parquet files, and only those are read."""

import asyncio
import io
import threading
from collections.abc import Callable
from datetime import UTC, datetime

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


def footers(port: int) -> ParquetFooters:
    return ParquetFooters(
        S3Connection(f"http://127.0.0.1:{port}", "us-east-1", "key", "secret", "lake")
    )


async def test_only_the_footer_of_a_large_file_is_read() -> None:
    bucket = Bucket(parquet(20_000))
    assert len(bucket.body) > 4_000_000
    with replying(bucket) as port:
        assert await footers(port).rows([info("a.parquet", bucket.body)]) == {"a.parquet": 20_000}
    assert bucket.sent <= 64 * 1024


async def test_a_footer_longer_than_the_first_read_is_read_whole() -> None:
    bucket = Bucket(parquet(3, columns=3_000))
    length = int.from_bytes(bucket.body[-8:-4], "little")
    assert length > 64 * 1024
    with replying(bucket) as port:
        assert await footers(port).rows([info("a.parquet", bucket.body)]) == {"a.parquet": 3}
    assert bucket.sent <= length + 8 + 64 * 1024


async def test_many_footers_are_read_at_once() -> None:
    together = threading.Barrier(READERS)
    bucket = Bucket(parquet(2), lambda: together.wait(20) and None)
    keys = [f"{number}.parquet" for number in range(2 * READERS)]
    with replying(bucket) as port:
        counted = await asyncio.wait_for(
            footers(port).rows([info(key, bucket.body) for key in keys]), 60
        )
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
async def test_what_is_not_parquet_has_no_count(body: bytes) -> None:
    with replying(Bucket(body)) as port:
        counted = await asyncio.wait_for(footers(port).rows([info("a.parquet", body)]), 60)
    assert counted == {"a.parquet": None}


async def test_an_empty_file_has_no_count_and_is_not_read() -> None:
    bucket = Bucket(b"")
    with replying(bucket) as port:
        assert await footers(port).rows([info("a.parquet", b"")]) == {"a.parquet": None}


async def test_an_outage_is_not_taken_for_damage() -> None:
    body = parquet(2)
    with replying(lambda _: Reply(403)) as port, pytest.raises(EngineUnreachable, match="S3"):
        await footers(port).rows([info("a.parquet", body)])


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
async def test_a_changed_byte_is_damage(body: bytes) -> None:
    assert body != parquet(3, columns=2)
    with replying(Bucket(body)) as port:
        counted = await asyncio.wait_for(footers(port).rows([info("a.parquet", body)]), 60)
    assert counted == {"a.parquet": None}


async def test_a_footer_that_would_take_much_memory_is_not_read() -> None:
    body = b"PAR1" + bytes(5 * 1024**2) + (5 * 1024**2).to_bytes(4, "little") + b"PAR1"
    bucket = Bucket(body)
    with replying(bucket) as port:
        counted = await asyncio.wait_for(footers(port).rows([info("a.parquet", body)]), 60)
    assert counted == {"a.parquet": None}
    assert bucket.sent <= 64 * 1024
