import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pyarrow as pa
import pytest

from app.config import Settings
from app.errors import EngineUnreachable
from app.lakehouse.embedded.home import Home
from app.lakehouse.embedded.lakehouse import (
    DEFAULT_PATIENCE,
    EmbeddedLakehouse,
    Patience,
    embedded_lakehouse,
)
from tests.patience import until

ROOT = Path(__file__).parents[3]
ROWS = pa.table({"id": [1, 2, 3]})

GATEWAY = """
import asyncio, json, signal, sys
from app.config import Settings
from app.lakehouse.embedded.lakehouse import embedded_lakehouse

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with embedded_lakehouse(Settings(_env_file=None, asgard_home=sys.argv[1])) as lakehouse:
        print(json.dumps({"weed": lakehouse.pid, "s3": lakehouse.lake.s3.endpoint}), flush=True)
        await stop.wait()

asyncio.run(main())
"""


@dataclass(frozen=True)
class Gateway:
    """Another process that runs the lakehouse, as a gateway does."""

    process: asyncio.subprocess.Process
    weed: int | None
    s3: str


@asynccontextmanager
async def gateway(home: Path) -> AsyncIterator[Gateway]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        GATEWAY,
        str(home),
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            yield Gateway(process, **json.loads(await process.stdout.readline()))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def opened(
    home: Path, patience: Patience = DEFAULT_PATIENCE
) -> contextlib.AbstractAsyncContextManager[EmbeddedLakehouse]:
    return embedded_lakehouse(Settings(_env_file=None, asgard_home=home), patience)


def seaweedfs_of(home: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children()
        if f"-dir={home}/seaweedfs" in process.cmdline()
    ]


def is_running(pid: int | None) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def sockets(ports: set[int]) -> list[Path]:
    return [path for port in ports for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]


async def write_data(lakehouse: EmbeddedLakehouse) -> None:
    await lakehouse.store.put("bronze/kept", b"kept")

    def make(catalog) -> None:
        catalog.create_table("gold.kept", ROWS.schema).append(ROWS)

    await lakehouse.catalog.run(make)


async def assert_data_is_there(lakehouse: EmbeddedLakehouse) -> None:
    assert (await lakehouse.store.get("bronze/kept")).body == b"kept"
    rows = await lakehouse.catalog.run(lambda c: c.load_table("gold.kept").scan().to_arrow())
    assert rows.to_pydict() == {"id": [1, 2, 3]}


async def test_a_killed_seaweedfs_comes_back_with_its_data(tmp_path):
    async with opened(tmp_path) as lakehouse:
        await write_data(lakehouse)
        for _ in range(2):
            killed = lakehouse.pid
            os.kill(killed, 9)
            await until(lambda: lakehouse.pid is None, 5)
            with pytest.raises(EngineUnreachable):
                await lakehouse.store.get("bronze/kept")
            with pytest.raises(EngineUnreachable):
                await lakehouse.catalog.table("gold.kept")
            await until(lakehouse.healthy, 10)
            assert lakehouse.pid != killed
            await assert_data_is_there(lakehouse)
        assert lakehouse.restarts == 2


async def test_a_seaweedfs_that_stops_answering_is_restarted(tmp_path):
    async with opened(tmp_path, Patience(mute_for=3, mute_poll=0.5)) as lakehouse:
        await write_data(lakehouse)
        hanging = lakehouse.pid
        os.kill(hanging, signal.SIGSTOP)
        await until(lambda: not is_running(hanging), 20)
        await until(lakehouse.healthy, 20)
        await assert_data_is_there(lakehouse)


async def test_a_gateway_that_stood_still_does_not_take_its_own_silence_for_seaweedfs(tmp_path):
    async with opened(tmp_path, Patience(mute_for=5.5, mute_poll=0.5)) as lakehouse:
        pid = lakehouse.pid
        assert await lakehouse.healthy()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(6)  # noqa: ASYNC251 -- the whole process stands still
        assert not await lakehouse.healthy()
        os.kill(pid, signal.SIGCONT)
        await until(lakehouse.healthy, 20)
        assert lakehouse.pid == pid
        assert lakehouse.restarts == 0


async def test_a_seaweedfs_that_hangs_while_starting_is_restarted(tmp_path):
    lakehouse = opened(tmp_path, Patience(ready_within=8))
    opening = asyncio.create_task(lakehouse.__aenter__())
    await until(lambda: bool(seaweedfs_of(tmp_path)), 10)
    [hanging] = seaweedfs_of(tmp_path)
    hanging.suspend()
    former = Home(tmp_path).read()
    started = await opening
    try:
        # Another user of the machine may be the cause, at one of these ports.
        assert not set(Home(tmp_path).read().ports.values()) & set(former.ports.values())
        assert started.pid != hanging.pid
        assert not is_running(hanging.pid)
        await write_data(started)
    finally:
        await lakehouse.__aexit__(None, None, None)


async def test_a_clean_stop_leaves_no_process_and_no_lock(tmp_path):
    async with opened(tmp_path) as lakehouse:
        await write_data(lakehouse)
        pid, lake = lakehouse.pid, lakehouse.lake
        ports = set(json.loads((tmp_path / "lakehouse.json").read_text())["ports"].values())
    assert not is_running(pid)
    assert sockets(ports) == []
    begun = time.monotonic()
    async with opened(tmp_path) as lakehouse:
        assert time.monotonic() - begun < 15  # a second or two on a quiet machine
        assert lakehouse.is_owner
        assert lakehouse.lake == lake
        await assert_data_is_there(lakehouse)


async def test_only_our_user_can_read_the_keys_and_every_listener_is_local(tmp_path):
    home = tmp_path / "home"
    async with opened(home) as lakehouse:
        secret = lakehouse.lake.s3.secret_key
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        for path in home.iterdir():
            if path.is_file():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert len(secret) >= 32
        assert not any(secret in part for part in psutil.Process(lakehouse.pid).cmdline())
        assert secret not in (home / "logs" / "seaweedfs.log").read_text()
        ports = set(json.loads((home / "lakehouse.json").read_text())["ports"].values())
        listening = {
            connection.laddr
            for connection in psutil.Process(lakehouse.pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert {address.ip for address in listening} == {"127.0.0.1"}
        assert {address.port for address in listening} <= ports
        assert len(listening) >= 9


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal")
async def test_seaweedfs_ends_with_a_killed_gateway_and_the_next_start_has_all_data(
    tmp_path,
):
    async with gateway(tmp_path) as first:
        async with opened(tmp_path) as lakehouse:
            await write_data(lakehouse)
        first.process.kill()
        await first.process.wait()
        await until(lambda: not is_running(first.weed), 5)
    async with opened(tmp_path) as lakehouse:
        assert lakehouse.lake.s3.endpoint == first.s3
        await assert_data_is_there(lakehouse)


@pytest.mark.parametrize("how", ["kill", "terminate"])
async def test_when_the_owner_ends_the_attached_gateway_takes_over(tmp_path, how):
    async with gateway(tmp_path) as owner, opened(tmp_path) as lakehouse:
        assert lakehouse.pid is None
        assert not lakehouse.is_owner
        assert lakehouse.lake.s3.endpoint == owner.s3
        await write_data(lakehouse)
        getattr(owner.process, how)()
        await owner.process.wait()
        await until(lambda: not is_running(owner.weed), 5)
        await until(lambda: lakehouse.is_owner and lakehouse.pid is not None, 5)
        await until(lakehouse.healthy, 10)
        await assert_data_is_there(lakehouse)
        async with opened(tmp_path) as third:
            assert not third.is_owner
            await assert_data_is_there(third)


async def test_gateways_that_start_together_share_one_seaweedfs(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        lakehouses = await asyncio.gather(
            *(stack.enter_async_context(opened(tmp_path)) for _ in range(3))
        )
        assert sorted(lakehouse.is_owner for lakehouse in lakehouses) == [False, False, True]
        assert len({lakehouse.lake.s3.endpoint for lakehouse in lakehouses}) == 1


async def test_ports_that_other_programs_took_are_replaced(tmp_path):
    async with opened(tmp_path) as lakehouse:
        await write_data(lakehouse)
        previous = lakehouse.lake
    with socket.create_server(("127.0.0.1", int(previous.s3.endpoint.rpartition(":")[2]))):
        async with opened(tmp_path) as lakehouse:
            assert lakehouse.lake.s3.endpoint != previous.s3.endpoint
            assert lakehouse.lake.s3.secret_key == previous.s3.secret_key
            await assert_data_is_there(lakehouse)


async def test_folders_in_place_of_sockets_do_not_keep_the_lake_closed(tmp_path):
    """Any user of the machine can make them."""
    async with opened(tmp_path) as lakehouse:
        await write_data(lakehouse)
        former = Home(tmp_path).read().ports
        late = Path(f"/tmp/seaweedfs-late-grpc-{former['s3.port.grpc']}.sock")
        await asyncio.to_thread(late.mkdir)
    parts = ("master", "volume", "filer", "s3", "admin")
    folders = [
        Path(f"/tmp/seaweedfs-{part}-grpc-{former[f'{part}.port.grpc']}.sock") for part in parts
    ]
    try:
        for folder in folders:
            (folder / "not empty").mkdir(parents=True)
        async with opened(tmp_path) as lakehouse:
            assert not set(Home(tmp_path).read().ports.values()) & set(former.values())
            await assert_data_is_there(lakehouse)
    finally:
        for folder in (late, *folders):
            shutil.rmtree(folder)


async def test_a_seaweedfs_that_the_kernel_left_running_is_ended_by_the_next_owner(tmp_path):
    leftover = await asyncio.create_subprocess_exec("sleep", "600")
    started = psutil.Process(leftover.pid).create_time()
    (tmp_path / "seaweedfs.pid").write_text(f"{leftover.pid} {started}")
    async with opened(tmp_path):
        assert await leftover.wait() == -9


async def assert_refused(asked: Awaitable[httpx.Response]) -> None:
    """The server may close the connection before it has read the whole body."""
    with contextlib.suppress(httpx.TransportError):
        answer = await asked
        assert answer.status_code == 400, answer.text


async def test_no_request_without_credentials_reads_or_writes(tmp_path):
    """SeaweedFS also listens for its own parts, and those ports require no S3 signature."""
    async with opened(tmp_path) as lakehouse, httpx.AsyncClient(timeout=5) as stranger:
        await write_data(lakehouse)
        ports = json.loads((tmp_path / "lakehouse.json").read_text())["ports"]
        filer = f"http://127.0.0.1:{ports['filer.port']}"
        kept = f"{filer}/buckets/lake/bronze/kept"
        files = {"file": b"evil"}
        await assert_refused(stranger.post(f"{filer}/buckets/lake/bronze/evil", files=files))
        await assert_refused(stranger.delete(kept))
        for path in (f"{filer}/", f"{filer}/buckets/", kept):
            await assert_refused(stranger.get(path, headers={"Accept": "application/json"}))
        s3 = await stranger.get(f"{lakehouse.lake.s3.endpoint}/lake/bronze/kept")
        assert s3.status_code == 403
        catalog = await stranger.get(f"{lakehouse.lake.catalog.uri}/v1/namespaces")
        assert catalog.status_code == 403
        assert await lakehouse.store.get("bronze/evil") is None
        await assert_data_is_there(lakehouse)


async def test_an_upload_without_a_key_is_not_written_to_the_disk(tmp_path):
    """SeaweedFS reads the form of an upload before it looks for its key."""
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    head = (
        b"POST /lake HTTP/1.1\r\nHost: lake\r\nContent-Length: 1000000000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    async with opened(tmp_path) as lakehouse:
        port = int(lakehouse.lake.s3.endpoint.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(30):
                writer.write(head + part)
                with contextlib.suppress(ConnectionError):
                    for _ in range(64):
                        writer.write(b"x" * 2**20)
                        await writer.drain()
            files = [file.path for file in psutil.Process(lakehouse.pid).open_files()]
            assert [path for path in files if "multipart" in path] == []
        finally:
            writer.close()
        assert lakehouse.restarts == 0
        await write_data(lakehouse)
        await assert_data_is_there(lakehouse)


async def test_another_process_with_the_pid_of_our_seaweedfs_is_left_alone(tmp_path):
    (tmp_path / "seaweedfs.pid").write_text(f"{os.getpid()} 1.0")
    assert Home(tmp_path).leftover_child() is None
