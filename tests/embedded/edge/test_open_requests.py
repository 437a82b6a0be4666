"""What the open requests of one caller may hold: their number, and the bytes of their bodies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse

from app.config import AuthMode
from app.edge.open_requests import BODIES_OF_ALL, BODIES_PER_CALLER, OpenRequests
from app.errors import TooManyRequests
from tests.harnesses.gateway import bearer, gateway_harness, key_of, served, write_keys
from tests.patience import until

LARGEST = 1024
MOST = 30


@pytest.fixture
async def clients(lakehouse, tmp_path) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two callers of one gateway, whose routes `/idle` and `/body` do nothing but wait and read."""
    one, two = key_of("admin", name="one"), key_of("admin", name="two")
    write_keys(tmp_path / "keys.json", one[1], two[1])
    async with AsyncExitStack() as stack:
        closed = await stack.enter_async_context(
            gateway_harness(
                lakehouse.settings,
                auth_mode=AuthMode.API_KEY,
                auth_keys_file=tmp_path / "keys.json",
                trusted_hosts=("127.0.0.1",),
                max_body_bytes=LARGEST,
                max_open_requests=MOST,
            )
        )
        _add_routes(closed.app)
        port = await stack.enter_async_context(served(closed.app))
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}",
                    headers=bearer(key),
                    timeout=30,
                    limits=httpx.Limits(max_connections=None),
                )
            )
            for key, _ in (one, two)
        ]


def _add_routes(app: FastAPI) -> None:
    @app.get("/idle")
    async def idle() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            await asyncio.Event().wait()

        return StreamingResponse(parts())

    @app.post("/body")
    async def body(request: Request) -> int:
        return len(await request.body())


@asynccontextmanager
async def idle_streams(client: httpx.AsyncClient, number: int) -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        for _ in range(number):
            answer = await stack.enter_async_context(client.stream("GET", "/idle"))
            assert answer.status_code == 200
        yield stack


async def test_the_open_streams_of_a_caller_are_limited(clients) -> None:
    one, two = clients
    async with idle_streams(one, MOST) as streams:
        refused = await one.get("/idle")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert f"{MOST} open requests, the maximum (MAX_OPEN_REQUESTS)" in refused.json()["detail"]
        assert (await two.post("/body", content=b"two")).json() == 3
        await streams.aclose()

        async def answered() -> bool:
            return (await one.post("/body", content=b"one")).status_code == 200

        assert await until(answered)


async def test_bodies_that_do_not_end_are_limited_per_caller(clients) -> None:
    one, two = clients
    sent = [await unended_body(one) for _ in range(MOST - 1)]
    answers = [asyncio.create_task(reader.read()) for reader, _ in sent]
    refused = MOST - 1 - BODIES_PER_CALLER
    await until(lambda: sum(answer.done() for answer in answers) == refused)
    for answer in answers:
        if answer.done():
            assert answer.result().startswith(b"HTTP/1.1 429 ")
            assert b"retry-after: 1" in answer.result().lower()
            assert b"/problems/too-many-requests" in answer.result()
    assert (await two.post("/body", content=b"two")).json() == 3
    for _, writer in sent:
        writer.write(b"x")
    ended = [await answer for answer in answers]
    assert sum(answer.startswith(b"HTTP/1.1 200 ") for answer in ended) == BODIES_PER_CALLER
    for _, writer in sent:
        writer.close()
    assert (await one.post("/body", content=b"x" * LARGEST)).json() == LARGEST


async def unended_body(
    client: httpx.AsyncClient,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a body without its last byte. httpx would read an answer only after all of it."""
    url = client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = (
        f"POST /body HTTP/1.1\r\nHost: {url.host}\r\nConnection: close\r\n"
        f"Authorization: {client.headers['Authorization']}\r\nContent-Length: {LARGEST}\r\n\r\n"
    )
    writer.write(head.encode() + b"x" * (LARGEST - 1))
    return reader, writer


def test_the_bodies_of_all_callers_are_limited() -> None:
    requests = OpenRequests(0, LARGEST)
    with requests.opened("last") as last, ExitStack() as others:
        for number in range(BODIES_OF_ALL // BODIES_PER_CALLER):
            other = others.enter_context(requests.opened(f"caller {number}"))
            assert other.hold(BODIES_PER_CALLER * LARGEST)
            assert not other.hold(1)
        assert not last.hold(1)
        others.close()
        assert last.hold(BODIES_PER_CALLER * LARGEST)
        assert not last.hold(1)


def test_a_request_that_fails_is_no_longer_open() -> None:
    requests = OpenRequests(1, LARGEST)
    for _ in range(3):
        with pytest.raises(ValueError, match="fails"), requests.opened("one"):
            raise ValueError("It fails.")
    with requests.opened("one"), pytest.raises(TooManyRequests), requests.opened("one"):
        pass
    with requests.opened("one") as again:
        assert again.hold(BODIES_PER_CALLER * LARGEST)
