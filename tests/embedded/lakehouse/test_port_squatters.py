"""A stranger that listens on a port of SeaweedFS, while that is away, gets nothing of use."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.config import Settings
from app.data_transformation.sail.worker import _token
from app.errors import AsgardError, EngineUnreachable
from app.lakehouse.connection import Lake
from app.lakehouse.embedded.lakehouse import embedded_lakehouse
from app.lakehouse.listeners import is_ours
from app.warehouse.duckdb.session import open_session
from tests.http_server import Asked, serving
from tests.patience import until

SQUATTER = """
import os, socket, sys, threading, time
os.setuid(65534)
listeners = []
for port in map(int, sys.argv[1:]):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    while True:
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen()
            break
        except OSError:
            time.sleep(0)
    listeners.append(listener)
print("listening", flush=True)

def answer(listener):
    while True:
        client, _ = listener.accept()
        if received := client.recv(65536):
            print(repr(received), flush=True)
            client.sendall(b"HTTP/1.1 401 Unauthorized\\r\\nContent-Length: 0\\r\\n\\r\\n")
        client.close()

threads = [threading.Thread(target=answer, args=(listener,)) for listener in listeners]
[thread.start() for thread in threads]
"""


def gateway(lake: Lake) -> None:
    lake.open_catalog()


def builder(lake: Lake, scratch: Path) -> None:
    open_session(lake, scratch, "128MB").close()


def sail(lake: Lake) -> None:
    _token(lake)


@pytest.mark.parametrize("client", [gateway, sail, builder])
async def test_the_secret_key_is_never_sent(lakehouse, tmp_path, client: Callable[..., None]):
    received: list[Asked] = []

    def refuse(asked: Asked) -> tuple[int, object]:
        received.append(asked)
        if asked.path.startswith("/v1/config"):
            return 200, {"defaults": {}, "overrides": {}}
        return 401, {}

    with serving(refuse) as port:
        uri = f"http://127.0.0.1:{port}"
        catalog = replace(
            lakehouse.lake.catalog, uri=uri, oauth2_server_uri=f"{uri}/v1/oauth/tokens"
        )
        lake = replace(lakehouse.lake, catalog=catalog)
        arguments = (lake, tmp_path) if client is builder else (lake,)
        with contextlib.suppress(Exception):
            await asyncio.to_thread(client, *arguments)
    secret = lakehouse.lake.s3.secret_key
    sent = [f"{asked.method} {asked.path} {asked.headers} {asked.body!r}" for asked in received]
    assert bool(sent) == (client is not sail)
    assert [request for request in sent if secret in request or "/oauth/" in request] == []


@asynccontextmanager
async def squatting(*ports: int) -> AsyncIterator[asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-c",
        SQUATTER,
        *map(str, ports),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"listening\n"
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="the squatter is another user, and only Linux shows the user of a listener",
)


@needs_root
async def test_nothing_is_sent_to_a_server_of_another_user(tmp_path):
    settings = Settings(_env_file=None, asgard_home=tmp_path)
    async with embedded_lakehouse(settings) as lakehouse:
        await lakehouse.store.put("bronze/kept", b"kept")
        killed, lake = lakehouse.pid, lakehouse.lake
        addresses = [lake.s3.endpoint, lake.catalog.uri]
        ports = [int(address.rpartition(":")[2]) for address in addresses]
        assert all(map(is_ours, addresses))
        os.kill(killed, signal.SIGSTOP)
        squatter = squatting(*ports)
        opening = asyncio.create_task(squatter.__aenter__())
        os.kill(killed, signal.SIGKILL)
        received = await opening
        assert not any(map(is_ours, addresses))
        for ask in (
            lambda: lakehouse.store.get("bronze/kept"),
            lambda: lakehouse.catalog.list_tables("gold"),
        ):
            with pytest.raises(EngineUnreachable):
                await ask()
        with pytest.raises(AsgardError):
            await lakehouse._prove()
        await squatter.__aexit__(None, None, None)
        assert await received.read() == b""
        await until(lakehouse.healthy, 20)
        assert (await lakehouse.store.get("bronze/kept")).body == b"kept"
