import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from app.errors import EngineFailed, EngineUnreachable
from app.failure import FailureCause
from app.lakehouse.storage import ObjectStore, PreconditionFailed

ETAG = '"900150983cd24fb0d6963f7d28e17f72"'  # of the body b"abc"


@asynccontextmanager
async def store_behind(
    lakehouse,
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    **changes: float,
) -> AsyncIterator[ObjectStore]:
    """Yield a store that reaches its S3 through `handle`, on a real port."""

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handle(reader, writer)
        writer.close()

    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    store = ObjectStore(replace(lakehouse.lake.s3, endpoint=endpoint, **changes))
    try:
        yield store
    finally:
        await store.close()
        server.close()


def losing_answers(lakehouse, method: bytes):
    """Forward everything, but close the connection instead of answering one kind of request."""
    port = int(lakehouse.lake.s3.endpoint.rpartition(":")[2])

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(65536):
            behind, sending = await asyncio.open_connection("127.0.0.1", port)
            head, _, body = request.partition(b"\r\n\r\n")
            length = next(
                (
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                0,
            )
            if b"expect: 100-continue" in head.lower():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                head = b"\r\n".join(
                    line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect")
                )
            while len(body) < length:
                body += await reader.read(65536)
            sending.write(head + b"\r\nConnection: close\r\n\r\n" + body)
            answer = await behind.read()
            sending.close()
            if request.startswith(method):
                return
            writer.write(answer)
            await writer.drain()
            return

    return handle


async def test_an_object_comes_back_with_its_etag_and_the_time_of_the_answer(lakehouse):
    etag = await lakehouse.store.put("test/object", b"abc")
    stored = await lakehouse.store.get("test/object")
    assert (stored.key, stored.body, stored.etag) == ("test/object", b"abc", etag)
    assert etag == ETAG
    assert timedelta(0) <= stored.answered_at - stored.last_modified < timedelta(seconds=5)


async def test_a_missing_object_is_none(lakehouse):
    assert await lakehouse.store.get("test/no such") is None


async def test_one_of_eight_creators_wins_every_time(lakehouse):
    others = [ObjectStore(lakehouse.lake.s3) for _ in range(7)]  # as other gateways have them

    async def attempt(store: ObjectStore, key: str, writer: int) -> str | None:
        try:
            return await store.create(key, f"writer {writer}".encode())
        except PreconditionFailed:
            return None

    races = [[lakehouse.store] * 8] * 10 + [[lakehouse.store, *others]] * 2
    for number, stores in enumerate(races):
        key = f"test/race/{number}"
        etags = await asyncio.gather(
            *(attempt(store, key, writer) for writer, store in enumerate(stores))
        )
        winners = [writer for writer, etag in enumerate(etags) if etag]
        assert len(winners) == 1
        stored = await lakehouse.store.get(key)
        assert stored.body == f"writer {winners[0]}".encode()
        assert stored.etag == etags[winners[0]]
    for store in others:
        await store.close()


async def test_one_of_eight_replacements_wins_and_the_others_changed_nothing(lakehouse):
    etag = await lakehouse.store.put("test/counter", b"0")

    async def add_one() -> int:
        lost = 0
        while True:
            stored = await lakehouse.store.get("test/counter")
            try:
                await lakehouse.store.replace(
                    "test/counter", str(int(stored.body) + 1).encode(), stored.etag
                )
            except PreconditionFailed:
                lost += 1
            else:
                return lost

    lost = sum(await asyncio.gather(*(add_one() for _ in range(8))))
    assert (await lakehouse.store.get("test/counter")).body == b"8"
    assert lost > 0
    with pytest.raises(PreconditionFailed):
        await lakehouse.store.replace("test/counter", b"9", etag)


async def test_a_deleted_object_cannot_be_replaced(lakehouse):
    etag = await lakehouse.store.put("test/gone", b"abc")
    await lakehouse.store.delete("test/gone")
    with pytest.raises(PreconditionFailed):
        await lakehouse.store.replace("test/gone", b"again", etag)
    assert await lakehouse.store.get("test/gone") is None


async def test_a_list_has_exactly_the_keys_below_the_prefix(lakehouse):
    keys = [f"test/list/{name}" for name in ("a b", "é", "plus+", "sub/x", "sub/y")]
    for key in (*keys, "test/listed"):
        await lakehouse.store.put(key, b"abc")
    stored = await lakehouse.store.list("test/list/")
    assert sorted(info.key for info in stored) == sorted(keys)
    assert {(info.size, info.etag) for info in stored} == {(3, ETAG)}


async def test_a_list_is_not_cut_at_a_thousand(lakehouse):
    async with asyncio.TaskGroup() as group:
        for number in range(1005):
            group.create_task(lakehouse.store.put(f"test/many/{number}", b""))
    stored = await lakehouse.store.list("test/many/")
    assert len(stored) == 1005
    await lakehouse.store.delete_many([info.key for info in stored])
    assert await lakehouse.store.list("test/many/") == []


async def test_deleting_a_missing_object_is_not_an_error(lakehouse):
    await lakehouse.store.put("test/doomed", b"abc")
    await lakehouse.store.delete_many(["test/doomed", "test/never there"])
    await lakehouse.store.delete("test/doomed")
    assert await lakehouse.store.get("test/doomed") is None


async def test_a_refused_upload_is_not_an_outage(lakehouse, tmp_path):
    path = tmp_path / "small"
    path.write_bytes(b"x")
    with pytest.raises(EngineFailed, match="S3 refused a request"):
        await lakehouse.store.upload(path, "k" * 2000)


async def test_a_large_file_is_uploaded_in_parts(lakehouse, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"0123456789" * 7_000_000)
    await lakehouse.store.upload(path, "test/large")
    (stored,) = await lakehouse.store.list("test/large")
    assert stored.size == 70_000_000
    assert "-" in stored.etag
    await lakehouse.store.delete("test/large")


async def test_an_s3_that_does_not_listen_is_unreachable_at_once(lakehouse):
    store = ObjectStore(replace(lakehouse.lake.s3, endpoint="http://127.0.0.1:9"))
    begun = time.monotonic()
    with pytest.raises(EngineUnreachable) as caught:
        await store.get("test/object")
    assert time.monotonic() - begun < 8
    assert caught.value.members == {"dependency": "s3"}
    assert caught.value.retry_after == 5


async def test_an_s3_that_does_not_answer_times_out(lakehouse):
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass

    async with store_behind(lakehouse, mute, read_timeout=0.3) as store:
        begun = time.monotonic()
        for call in (store.get("test/object"), store.create("test/mute", b"abc")):
            with pytest.raises(EngineUnreachable):
                await call
        assert time.monotonic() - begun < 8
    assert await lakehouse.store.get("test/mute") is None


async def test_a_conditional_write_whose_answer_was_lost_is_recognized_as_done(lakehouse):
    async with store_behind(lakehouse, losing_answers(lakehouse, b"PUT")) as store:
        created = await store.create("test/lost/answer", b"owner 1")
        assert (await lakehouse.store.get("test/lost/answer")).etag == created
        replaced = await store.replace("test/lost/answer", b"owner 1, renewed", created)
    stored = await lakehouse.store.get("test/lost/answer")
    assert (stored.body, stored.etag) == (b"owner 1, renewed", replaced)


async def test_a_conditional_write_whose_answer_was_lost_is_recognized_as_lost(lakehouse):
    first = await lakehouse.store.create("test/lost/race", b"owner 1")
    await lakehouse.store.replace("test/lost/race", b"owner 2", first)
    async with store_behind(lakehouse, losing_answers(lakehouse, b"PUT")) as store:
        with pytest.raises(PreconditionFailed):
            await store.create("test/lost/race", b"owner 3")
        with pytest.raises(PreconditionFailed):
            await store.replace("test/lost/race", b"owner 3", first)
    assert (await lakehouse.store.get("test/lost/race")).body == b"owner 2"


async def test_a_wrong_key_is_named_as_the_cause(lakehouse):
    store = ObjectStore(replace(lakehouse.lake.s3, secret_key="wrong"))
    with pytest.raises(EngineFailed) as caught:
        await store.get("test/object")
    assert caught.value.cause is FailureCause.PERMISSION_DENIED
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("method", ["put", "create"])
async def test_a_writer_that_is_cut_off_after_the_headers_leaves_no_object(lakehouse, method):
    """SeaweedFS used to store an empty object, which no reader could parse."""
    address = lakehouse.lake.s3.endpoint.removeprefix("http://")
    host, port = address.split(":")

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = await reader.readuntil(b"\r\n\r\n")
        _, behind = await asyncio.open_connection(host, int(port))
        behind.write(headers)
        await behind.drain()
        behind.close()
        await behind.wait_closed()
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    store = ObjectStore(replace(lakehouse.lake.s3, endpoint=proxy))
    key = f"asgard/cut/{method}"
    async with server:
        with pytest.raises(EngineUnreachable):
            await getattr(store, method)(key, b'{"state": "running"}')
    await store.close()
    # This was written later and is visible, so the effect of the cut-off request is also visible.
    await lakehouse.store.put("asgard/cut/after", b"after")
    assert await lakehouse.store.get(key) is None
