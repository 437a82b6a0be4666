"""Raw requests that two programs could read differently get one answer, then EOF."""

import asyncio
import contextlib
import json
import re
import select
import socket
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response, StreamingResponse

from app.edge.wire import MOST_SMALL_CHUNKS, SMALL_CHUNK, Wire
from tests.harnesses.gateway import gateway_harness, served
from tests.patience import until

SECOND = b"GET /smuggled HTTP/1.1\r\nHost: asgard\r\n\r\n"
POST = b"POST /body HTTP/1.1\r\nHost: asgard\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: asgard\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
REQUESTS = "asgard_http_requests_total"
LARGE = 8 * 1024 * 1024
STATUS_LINE = re.compile(rb"HTTP/1\.1 \d{3} ")

MALFORMED = {
    "a length and chunks": POST
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + SECOND,
    "chunks and a length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
    + SECOND,
    "chunks in HTTP/1.0": b"POST /body HTTP/1.0\r\nHost: asgard\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "LF after the request line": b"GET /health HTTP/1.1\nHost: asgard\r\n\r\n" + SECOND,
    "LF after a header": GET + b"X-A: b\nX-C: d\r\n\r\n" + SECOND,
    "LF alone everywhere": b"GET /health HTTP/1.1\nHost: asgard\n\n" + SECOND,
    "LF before the empty line": GET[:-2] + b"\n\r\n" + SECOND,
    "LF instead of the empty line": GET + b"\n" + SECOND,
    "CR in a value": GET + b"X-A: b\rX-C: d\r\n\r\n" + SECOND,
    "two CRs": GET + b"X-A: b\r\r\n\r\n" + SECOND,
    "NUL in a value": GET + b"X-A: b\x00c\r\n\r\n" + SECOND,
    "a bell in a value": GET + b"X-A: b\x07c\r\n\r\n" + SECOND,
    "DEL in a value": GET + b"X-A: b\x7fc\r\n\r\n" + SECOND,
    "NUL in a name": GET + b"X\x00A: b\r\n\r\n" + SECOND,
    "NUL in the path": b"GET /health\x00 HTTP/1.1\r\nHost: asgard\r\n\r\n" + SECOND,
    "a folded header": GET + b"X-A: b\r\n c: d\r\n\r\n" + SECOND,
    "a first header that is folded": b"GET /health HTTP/1.1\r\n X-A: b\r\nHost: asgard\r\n\r\n"
    + SECOND,
    "a space before the colon": POST
    + b"Content-Length: 0\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"
    + SECOND,
    "two equal lengths": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab" + SECOND,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 2\r\n\r\nab" + SECOND,
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\nab" + SECOND,
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\nab" + SECOND,
    "a negative length": POST + b"Content-Length: -2\r\n\r\nab" + SECOND,
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\nab" + SECOND,
    "an empty length": POST + b"Content-Length:\r\n\r\n" + SECOND,
    "two hosts": GET + b"Host: evil.example.com\r\n\r\n" + SECOND,
    "no host": b"GET /health HTTP/1.1\r\n\r\n" + SECOND,
    "another coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "identity after chunked": POST
    + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"
    + SECOND,
    "two codings": POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
    + SECOND,
    "a coding after a vertical tab": POST
    + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"
    + SECOND,
    "HTTP/0.9": b"GET /health\r\n\r\n" + SECOND,
    "HTTP/2.0": b"GET /health HTTP/2.0\r\nHost: asgard\r\n\r\n" + SECOND,
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an empty line first": b"\r\n" + GET + b"\r\n",
    "a chunk's line that ends with LF": CHUNKED + b"0\n\r\n" + SECOND,
    "a chunk's extension with LF": CHUNKED + b"2;a\nb\r\nab\r\n0\r\n\r\n" + SECOND,
    "a chunk's extension with CR": CHUNKED + b"2;a\rb\r\nab\r\n0\r\n\r\n" + SECOND,
    "a chunk's long extension": CHUNKED + b"2;" + b"a" * 5000 + b"\r\nab\r\n0\r\n\r\n" + SECOND,
    "a chunk's line without an end": CHUNKED + b"2;" + b"a" * 5000,
    "a space after a chunk's size": CHUNKED + b"2 \r\nab\r\n0\r\n\r\n" + SECOND,
    "a chunk's size with a prefix": CHUNKED + b"0x2\r\nab\r\n0\r\n\r\n" + SECOND,
    "a chunk's huge size": CHUNKED + b"1" + b"0" * 16 + b"\r\nab\r\n0\r\n\r\n" + SECOND,
    "a chunk that is longer than its size": CHUNKED + b"2\r\nabc\r\n0\r\n\r\n" + SECOND,
    "LF instead of trailers": CHUNKED + b"0\r\n\n" + SECOND,
    "LF in trailers": CHUNKED + b"0\r\nX-A: b\n\r\n" + SECOND,
    "NUL in trailers": CHUNKED + b"0\r\nX-A: b\x00\r\n\r\n" + SECOND,
}

WELL_FORMED = {
    "a length": POST + b"Content-Length: 2\r\n\r\na\n",
    "chunks": CHUNKED + b"1\r\na\r\n1\r\n\n\r\n0\r\n\r\n",
    "chunks with an extension": CHUNKED + b"2;a=b\r\na\n\r\n0\r\n\r\n",
    "chunks with trailers": CHUNKED + b"2\r\na\n\r\n0\r\nX-A: b\r\n\r\n",
    "HTTP/1.0": b"POST /body HTTP/1.0\r\nHost: asgard\r\nContent-Length: 2\r\n"
    b"Connection: keep-alive\r\n\r\na\n",
    "tabs and Latin-1": POST + b"X-A:\tb\tc \xe4\r\nContent-Length:\t2\r\n\r\na\n",
}


@pytest.fixture(scope="module")
async def app(lakehouse) -> AsyncIterator[FastAPI]:
    async with gateway_harness(lakehouse.settings) as gateway:

        @gateway.app.post("/body")
        async def body(request: Request) -> int:
            return len(await request.body())

        @gateway.app.get("/smuggled")
        async def smuggled() -> str:
            return "the second answer"

        @gateway.app.get("/large")
        async def large() -> Response:
            return Response(b"x" * LARGE)

        @gateway.app.get("/idle")
        async def idle() -> StreamingResponse:
            async def parts() -> AsyncIterator[bytes]:
                yield b"first"
                await asyncio.Event().wait()

            return StreamingResponse(parts(), media_type="text/event-stream")

        yield gateway.app


@pytest.fixture(scope="module")
async def port(app: FastAPI) -> AsyncIterator[int]:
    async with served(app) as port:
        yield port


async def exchange(port: int, *pieces: bytes) -> bytes:
    """Return all bytes that arrive until the gateway closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        answers = await reader.read()
    writer.close()
    return answers


def assert_one_refusal(
    answers: bytes, status: int = 400, problem_type: str = "malformed-request"
) -> None:
    assert len(STATUS_LINE.findall(answers)) == 1, answers
    head, _, body = answers.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answers
    lines = head.lower().split(b"\r\n")
    assert b"connection: close" in lines
    assert b"content-type: application/problem+json" in lines
    problem = json.loads(body)
    assert problem["type"] == f"/problems/{problem_type}"
    assert f"x-request-id: {problem['request_id']}".encode() in lines
    assert b"x-content-type-options: nosniff" in lines


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_request_gets_one_answer_and_is_disconnected(
    port: int, name: str
) -> None:
    assert_one_refusal(await exchange(port, MALFORMED[name]))


@pytest.mark.parametrize(
    "request_",
    [
        GET + b"X-A: b\n",
        GET + b"X-A: b\r\r",
        GET + b"X-A: b\x00",
        GET + b"X-A: b\r\n ",
        CHUNKED + b"2\r\nab\r\n0\r\nX-A: b\n",
    ],
)
async def test_a_malformed_request_is_refused_at_its_first_wrong_byte(
    port: int, request_: bytes
) -> None:
    pieces = [request_[at : at + 1] for at in range(len(request_))]
    assert_one_refusal(await exchange(port, *pieces))


async def test_an_incomplete_body_is_not_an_error_of_the_gateway(app: FastAPI, port: int) -> None:
    def count(status: str) -> float:
        labels = {"method": "POST", "route": "/body", "status": status}
        return app.state.metrics.registry.get_sample_value(REQUESTS, labels) or 0.0

    failed, refused = count("500"), count("400")
    assert_one_refusal(await exchange(port, MALFORMED["a chunk that is longer than its size"]))
    await until(lambda: count("400") == refused + 1 or count("500") > failed)
    assert count("500") == failed


async def test_lengths_that_differ_are_refused_by_a_plain_uvicorn_too(app: FastAPI) -> None:
    for name in ("a length and chunks", "chunks and a length"):
        async with served(app, http="h11") as port:
            assert_one_refusal(await exchange(port, MALFORMED[name]))


@pytest.mark.parametrize("name", WELL_FORMED)
async def test_a_well_formed_request_is_answered_and_the_next_one_too(port: int, name: str) -> None:
    last = GET + b"Connection: close\r\n\r\n"
    keeps = b"HTTP/1.0" not in WELL_FORMED[name]
    whole = WELL_FORMED[name] + last * keeps
    for pieces in ([whole], [whole[at : at + 1] for at in range(len(whole))]):
        answers = await exchange(port, *pieces)
        assert answers.startswith(b"HTTP/1.1 200 "), answers
        assert b"\r\n\r\n2" in answers
        assert answers.count(b"HTTP/1.1 200 ") == 1 + keeps, answers


async def test_a_malformed_second_request_is_refused_after_the_first(port: int) -> None:
    answers = await exchange(port, GET + b"\r\n" + MALFORMED["a length and chunks"])
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert_one_refusal(answers[answers.index(b"HTTP/1.1 400 ") :])
    assert b"the second answer" not in answers


async def test_the_value_of_a_refused_header_is_not_repeated(port: int) -> None:
    answers = await exchange(port, GET + b"Authorization : Bearer hunter2-very-secret\r\n\r\n")
    assert_one_refusal(answers)
    assert b"hunter2" not in answers


class Hasty(Wire):
    head_seconds = 0.3
    silent_seconds = 0.3
    unread_seconds = 0.5


@pytest.fixture(scope="module")
async def hasty(app: FastAPI) -> AsyncIterator[int]:
    async with served(app, http=Hasty) as port:
        yield port


async def trickled(port: int, start: bytes, each: bytes) -> bytes:
    """Send `start`, then `each` again and again until the gateway has closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(start)
    answers = bytearray()

    async def read() -> None:
        # Data sent after the end resets the connection.
        with contextlib.suppress(ConnectionResetError):
            while part := await reader.read(65536):
                answers.extend(part)

    reading = asyncio.create_task(read())
    async with asyncio.timeout(10):
        while not (await asyncio.wait({reading}, timeout=0.02))[0]:
            writer.write(each)
    writer.close()
    await reading
    return bytes(answers)


@pytest.mark.parametrize("start", [b"G", GET, GET + b"X-A: b\r\n\r\n" + GET, POST])
async def test_a_head_that_arrives_slowly_has_one_time_limit(hasty: int, start: bytes) -> None:
    answers = await trickled(hasty, start, b"x")
    if start.count(b"\r\n\r\n"):
        assert answers.startswith(b"HTTP/1.1 200 ")
        answers = answers[answers.index(b"HTTP/1.1 408 ") :]
    assert_one_refusal(answers, 408, "request-too-slow")
    assert b"The head of the request did not arrive within 0.3 s." in answers


async def test_a_connection_without_a_request_is_closed_without_an_answer(hasty: int) -> None:
    assert await exchange(hasty) == b""


@pytest.mark.parametrize(
    "request_", [POST + b"Content-Length: 100\r\n\r\nab", CHUNKED + b"5\r\nab"]
)
async def test_a_body_that_stops_arriving_is_a_408(hasty: int, request_: bytes) -> None:
    answers = await exchange(hasty, request_)
    assert_one_refusal(answers, 408, "request-too-slow")
    assert b"The next part of the body did not arrive within 0.3 s." in answers


async def test_a_body_may_take_longer_than_its_parts(hasty: int) -> None:
    """Another connection, which is closed first, shows that the time has passed."""
    start = POST + b"Connection: close\r\nContent-Length: 1000\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty)
    writer.write(start)
    sent = 0
    slower = asyncio.create_task(trickled(hasty, b"G", b""))
    while not (await asyncio.wait({slower}, timeout=0.02))[0]:
        writer.write(b"x")
        sent += 1
    writer.write(b"x" * (1000 - sent))
    async with asyncio.timeout(10):
        answers = await reader.read()
    writer.close()
    assert answers.startswith(b"HTTP/1.1 200 "), answers
    assert answers.endswith(b"1000")


async def test_the_rest_of_a_refused_body_does_not_hold_the_connection(hasty: int) -> None:
    start = b"POST /nowhere HTTP/1.1\r\nHost: asgard\r\nContent-Length: 10000\r\n\r\n"
    answers = await trickled(hasty, start, b"x")
    assert answers.startswith(b"HTTP/1.1 404 ")
    assert len(STATUS_LINE.findall(answers)) == 1


async def test_a_connection_stays_open_between_two_requests(hasty: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty)
    writer.write(GET + b"\r\n")
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        # The time limit of a connection that began later has passed.
        assert await exchange(hasty) == b""
        writer.write(GET + b"Connection: close\r\n\r\n")
        assert b"HTTP/1.1 200 " in await reader.read()
    writer.close()


@contextlib.asynccontextmanager
async def small_client(port: int, path: str) -> AsyncIterator[socket.socket]:
    """Yield a client with a small buffer, which has asked for the path and has read nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, f"GET {path} HTTP/1.1\r\nHost: asgard\r\n\r\n".encode())
        yield client


def is_dropped(client: socket.socket) -> bool:
    """Ask without reading."""
    poll = select.poll()
    poll.register(client, 0)
    return bool(poll.poll(0))


async def test_a_client_that_does_not_read_its_answer_is_dropped(hasty: int) -> None:
    async with small_client(hasty, "/large") as client:
        await until(lambda: is_dropped(client), 15)


async def test_a_client_may_read_slowly(hasty: int) -> None:
    """Clients that do not read, and are dropped one after the other, show that the time has
    passed."""
    loop = asyncio.get_running_loop()
    async with small_client(hasty, "/large") as client, asyncio.timeout(60):
        read = 0
        for _ in range(3):
            async with small_client(hasty, "/large") as unread:
                while not is_dropped(unread):
                    read += len(await loop.sock_recv(client, 16384))
                    await asyncio.sleep(0.02)
        assert 0 < read < LARGE
        assert not is_dropped(client)
        while read < LARGE:
            part = await loop.sock_recv(client, LARGE)
            assert part
            read += len(part)


async def test_a_stream_without_news_stays_open(hasty: int) -> None:
    async with small_client(hasty, "/idle") as idle, small_client(hasty, "/large") as unread:
        await until(lambda: is_dropped(unread), 15)
        async with small_client(hasty, "/large") as later:
            await until(lambda: is_dropped(later), 15)
        assert b"first" in await asyncio.get_running_loop().sock_recv(idle, 65536)
        assert not is_dropped(idle)


async def test_head_is_answered_without_a_body_on_the_wire(port: int) -> None:
    head = b"HEAD /health HTTP/1.1\r\nHost: asgard\r\n"
    answers = await exchange(port, head + b"\r\n" + head + b"Connection: close\r\n\r\n")
    assert answers.count(b"HTTP/1.1 200 ") == 2
    assert b"healthy" not in answers
    whole = await exchange(port, GET + b"Connection: close\r\n\r\n")
    length = re.search(rb"(?i)content-length: \d+", whole)[0]
    assert answers.count(length) == 2


async def test_a_head_request_for_an_endless_stream_ends(app: FastAPI, port: int) -> None:
    ended = asyncio.Event()

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"part"
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        return StreamingResponse(parts(), media_type="text/event-stream")

    answers = await exchange(
        port, b"HEAD /endless HTTP/1.1\r\nHost: asgard\r\nConnection: close\r\n\r\n"
    )
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert b"part" not in answers
    await asyncio.wait_for(ended.wait(), 10)


async def test_a_body_of_very_many_small_chunks_is_refused(port: int) -> None:
    few, many = MOST_SMALL_CHUNKS - 1, MOST_SMALL_CHUNKS + 1
    end, last = b"0\r\n\r\n", GET + b"Connection: close\r\n\r\n"
    answers = await exchange(port, CHUNKED + b"1\r\na\r\n" * few + end, last)
    assert STATUS_LINE.findall(answers) == [b"HTTP/1.1 200 "] * 2
    assert_one_refusal(await exchange(port, CHUNKED + b"1\r\na\r\n" * many + end + SECOND))


async def test_a_body_may_have_any_number_of_larger_chunks(port: int) -> None:
    last = GET + b"Connection: close\r\n\r\n"
    chunk = b"40\r\n" + b"a" * SMALL_CHUNK + b"\r\n"
    answers = await exchange(port, CHUNKED + chunk * 2 * MOST_SMALL_CHUNKS + b"0\r\n\r\n", last)
    assert STATUS_LINE.findall(answers) == [b"HTTP/1.1 200 "] * 2
