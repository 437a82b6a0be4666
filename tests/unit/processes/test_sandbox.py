"""Tries from inside what a sandboxed child can do, with each kernel layer missing in turn."""

import asyncio
import contextlib
import ctypes
import json
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.lakehouse.embedded.home import free_port
from app.processes import ChildProcess, WorkerProcess
from app.processes.child import LAUNCH
from app.sandbox.landlock import abi
from app.sandbox.namespaces import available
from app.sandbox.policy import Sandbox

ROOT = Path(__file__).parents[3]
UNSHARE, LANDLOCK = "272 if platform.machine() == 'x86_64' else 97", "444"
ATTEMPTS = """
import ctypes, fcntl, json, os, platform, socket, stat, struct, sys, threading
from pathlib import Path
folder, outside, allowed, other, token, own_port, *shared = sys.argv[1:]
segment, queue, semaphore = map(int, shared)
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
def call(numbers, *arguments):
    result = libc.syscall(ctypes.c_long(numbers[0 if x86 else 1]), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "system call")
    return result
def death_signal():
    if libc.prctl(1, 0, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return "changed"
def clone_parent():
    process = call((56, 220), 0x8000 | 17, 0, 0, 0, 0)
    if not process:
        os._exit(0)
    return process
def own_server():
    server = socket.create_server(("127.0.0.1", int(own_port)))
    socket.create_connection(server.getsockname(), 2)
    return "connected"
def empty(mode):
    os.close(os.open(Path(outside, "secret"), mode | os.O_TRUNC))
    return "emptied"
def opened(name):
    "Return a file of the child itself: the filter cannot tell whose file is open."
    return os.open(Path(folder, name), os.O_CREAT | os.O_RDWR)
def ioctl(command):
    "Fails only if the filter denies it: the file system may not know it."
    try:
        fcntl.ioctl(os.open(folder, os.O_RDONLY), command, bytes(128))
    except OSError as error:
        if error.errno == 1:
            raise
    return "passed"
def newer(number):
    try:
        call((number, number), -1, 0, 0, 0, 0)
    except OSError as error:
        if error.errno == 38:
            raise
    return "passed"
parent = os.getppid()
def known(number):
    "Fails only if the filter denies it: the kernel may not know it."
    try:
        call((number, number), -1, 0, 0, 0, 0, 0)
    except OSError as error:
        if error.errno == 95:
            raise
    return "passed"
def connect(port, host="127.0.0.1"):
    with socket.create_connection((host, int(port)), 2) as opened:
        return opened.recv(100).decode()
def thread():
    worked = []
    one = threading.Thread(target=lambda: worked.append("ran"))
    one.start()
    one.join()
    return worked[0]
def ptrace():
    if libc.ptrace(16, parent, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    return "attached"
def unshare():
    if libc.unshare(0x10000000) < 0:
        raise OSError(ctypes.get_errno(), "unshare")
    return "unshared"
attempts = {
    "own file": lambda: Path(folder, "own").write_text("x") and "written",
    "own thread": thread,
    "own signal": lambda: os.kill(os.getpid(), 0) or "sent",
    "temporary file": lambda: __import__("tempfile").TemporaryFile().write(b"x"),
    "read": lambda: Path(outside, "secret").read_text(),
    "list": lambda: os.listdir(outside),
    "write": lambda: Path(outside, "planted").write_text("x"),
    "delete": lambda: Path(outside, "secret").unlink() or "deleted",
    "link": lambda: os.link(Path(outside, "secret"), Path(folder, "link")) or "linked",
    "system secret": lambda: Path("/etc/shadow").read_text(),
    "home": lambda: os.listdir("/root" if os.path.exists("/root") else "/home"),
    "environment of the gateway": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
    "memory of the gateway": lambda: Path(f"/proc/{parent}/mem").open("rb") and "opened",
    "shell": lambda: os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", "true"]) and 1 / 0,
    "signal": lambda: os.kill(parent, 0) or "sent",
    "ptrace": ptrace,
    "unshare": unshare,
    "limits of the gateway": lambda: __import__("resource").prlimit(parent, 7) and "seen",
    "mode of a file": lambda: os.chmod(Path(outside, "secret"), 0o666) or "changed",
    "times of a file": lambda: os.utime(Path(outside, "secret"), (1, 1)) or "changed",
    "attribute": lambda: os.setxattr(Path(outside, "secret"), "user.a", b"x") or "set",
    "read attribute": lambda: os.getxattr(Path(outside, "secret"), "user.b"),
    "read attribute of a link": lambda: os.getxattr(
        Path(outside, "secret"), "user.b", follow_symlinks=False),
    "attributes": lambda: os.listxattr(Path(outside, "secret")),
    "attributes of a link": lambda: os.listxattr(Path(outside, "secret"), follow_symlinks=False),
    "read attribute of an open file": lambda: os.getxattr(opened("attr"), "user.b"),
    "attributes of an open file": lambda: os.listxattr(opened("attr")),
    "getxattrat": lambda: known(464),
    "listxattrat": lambda: known(465),
    "own session": lambda: os.setsid() and "left",
    "MPTCP": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) and "made",
    "fast open": lambda: socket.socket().sendto(b"x", 0x20000000, ("127.0.0.1", int(other))),
    "pair of datagram sockets": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) and 1,
    "pair": lambda: socket.socketpair() and "made",
    "allowed host": lambda: connect(allowed),
    "other port": lambda: connect(other),
    "datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) and "made",
    "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1) and "made",
    "Unix socket": lambda: socket.socket(socket.AF_UNIX) and "made",
    "bind": lambda: socket.socket().bind(("127.0.0.1", 0)) or "bound",
    "bind of the own port": own_server,
    "listen": lambda: socket.socket().listen() or "listens",
    "shared memory": lambda: Path(f"/dev/shm/asgard-{token}").write_text("x") and "written",
    "owner of a pipe": lambda: fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, parent) or "set",
    "other owner of a pipe": lambda: fcntl.fcntl(os.pipe()[0], 15, struct.pack("ii", 1, parent)),
    "signal of a pipe": lambda: fcntl.fcntl(os.pipe()[0], 10, 9) or "set",
    "owner by FIOSETOWN": lambda: fcntl.ioctl(
        socket.socketpair()[0], 0x8901, struct.pack("i", parent)),
    "owner by SIOCSPGRP": lambda: fcntl.ioctl(
        socket.socketpair()[0], 0x8902, struct.pack("i", parent)),
    "flags of a file": lambda: ioctl(0x40086602),
    "flags of a file, 32 bits": lambda: ioctl(0x40046602),
    "attributes of a file": lambda: ioctl(0x401C5820),
    "version of a file": lambda: ioctl(0x40087602),
    "version of a file on ext4": lambda: ioctl(0x40086604),
    "verity of a file": lambda: ioctl(0x40806685),
    "encryption of a folder": lambda: ioctl(0x800C6613),
    "open_tree_attr": lambda: newer(467),
    "file_getattr": lambda: newer(468),
    "file_setattr": lambda: newer(469),
    "a later system call": lambda: newer(500),
    "truncate": lambda: os.truncate(Path(outside, "secret"), 0) or "emptied",
    "open for reading, emptied": lambda: empty(os.O_RDONLY),
    "open for nothing, emptied": lambda: empty(3),
    "openat2": lambda: call((437, 437), -100, b"/usr", struct.pack("QQQ", 0, 0, 0), 24),
    "priority of the gateway": lambda: os.setpriority(os.PRIO_PROCESS, parent, 1) or "set",
    "priority of the user": lambda: os.setpriority(
        os.PRIO_USER, 0, os.getpriority(os.PRIO_USER, 0)) or "set",
    "disk priority of the gateway": lambda: call((251, 30), 1, parent, 2 << 13 | 4) + 1,
    "processors of the gateway": lambda: os.sched_setaffinity(
        parent, os.sched_getaffinity(parent)) or "set",
    "own processors": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)) or "set",
    "death signal": death_signal,
    "sibling": clone_parent,
    "shared segment": lambda: call((29, 194), 0, 4096, 0o1600) + 1,
    "message queue": lambda: call((68, 186), 0, 0o1600) + 1,
    "semaphore": lambda: call((64, 190), 0, 1, 0o1600) + 1,
    "segment of the gateway": lambda: call((30, 196), segment, 0, 0o10000) and "attached",
    "state of a segment": lambda: call((31, 195), segment, 2, ctypes.create_string_buffer(200)) + 1,
    "send to a queue": lambda: call((69, 189), queue, struct.pack("l8s", 1, b"x"), 8, 0o4000) + 1,
    "receive from a queue": lambda: call(
        (70, 188), queue, ctypes.create_string_buffer(16), 8, 1, 0o4000) + 1,
    "state of a queue": lambda: call((71, 187), queue, 2, ctypes.create_string_buffer(200)) + 1,
    "semaphore of the gateway": lambda: call(
        (65, 193), semaphore, struct.pack("Hhh", 0, 1, 0o4000), 1) + 1,
    "timed semaphore": lambda: call(
        (220, 192), semaphore, struct.pack("Hhh", 0, 1, 0o4000), 1, None) + 1,
    "value of a semaphore": lambda: call((66, 191), semaphore, 0, 12) + 1,
    "named queue": lambda: call((241, 181), token.encode()) + 1,
    "log of the kernel": lambda: call((103, 116), 10, None, 0) + 1,
    "watch": lambda: call((254, 27), libc.inotify_init(), str(outside).encode(), 0xfff),
    "keys of the system": lambda: os.listdir("/etc/ssl/private"),
    "device": lambda: os.mknod(Path(folder, "device"), stat.S_IFCHR, os.makedev(1, 8)) or "made",
    "host name": lambda: socket.sethostname(socket.gethostname()) or "set",
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) and "made",
}
done = {}
for name, attempt in attempts.items():
    try:
        done[name] = attempt()
    except (OSError, ZeroDivisionError) as error:
        done[name] = None
print(json.dumps(done, default=str))
"""
ALLOWED = {"own file", "own thread", "own signal", "temporary file", "pair", "allowed host"} | {
    "own processors"
}
PRIVATE = {"shared memory"}
"""With namespaces, only the child sees it."""
FILES = {"read", "list", "write", "delete", "link", "system secret", "home", "shell"} | {
    "keys of the system"
}
PROCESSES = {"environment of the gateway", "memory of the gateway"}
"""Only Landlock protects a process's files in /proc from another process of the same user."""
WITHOUT = """
import os, platform, sys
sys.path.insert(0, {root!r})
from app.sandbox import seccomp as s
refused = [(s.EQUAL, 0, 1, {number}), (s.RETURN, 0, 0, s.ERROR | 1)]
s.install([(s.LOAD, 0, 0, s.NUMBER), *refused, (s.RETURN, 0, 0, s.ALLOW)])
os.execv(sys.argv[1], sys.argv[1:])
"""


@asynccontextmanager
async def shared_objects(name: str) -> AsyncIterator[tuple[int, int, int]]:
    """Make System V objects (a segment, a queue with a message, a semaphore) and a POSIX queue with
    this name. Return the ids of the first three."""
    libc = ctypes.CDLL(None, use_errno=True)
    segment, queue = libc.shmget(0, 4096, 0o1600), libc.msgget(0, 0o1600)
    semaphore = libc.semget(0, 1, 0o1600)
    named = libc.mq_open(f"/{name}".encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
    try:
        assert min(segment, queue, semaphore, named) >= 0
        assert libc.msgsnd(queue, struct.pack("l8s", 1, b"message"), 8, 0) == 0
        yield segment, queue, semaphore
    finally:
        libc.shmctl(segment, 0, None)
        libc.msgctl(queue, 0, None)
        libc.semctl(semaphore, 0, 0)
        libc.mq_unlink(f"/{name}".encode())
        os.close(named)


@asynccontextmanager
async def greeting() -> AsyncIterator[int]:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def reached(tmp_path: Path, without: str | None = None, **options: Any) -> dict[str, Any]:
    """Return the result of each of ATTEMPTS in a kernel that lacks the system call `without`."""
    token = uuid4().hex
    folder, outside = tmp_path / "own", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    os.setxattr(outside / "secret", "user.b", b"an attribute")
    async with greeting() as allowed, greeting() as other, shared_objects(token) as shared:
        options.setdefault("hosts", (("127.0.0.1", allowed),))
        sandbox = Sandbox(folder, **options)
        program = [
            sys.executable,
            "-c",
            ATTEMPTS,
            folder,
            outside,
            allowed,
            other,
            token,
            sandbox.own_port or 1,
            *shared,
        ]
        launch = {"parent": os.getpid(), "limits": {}, "protocol": False}
        argv = [LAUNCH, json.dumps({**launch, "sandbox": sandbox.options()}), *program]
        command = [sys.executable, "-I", "-S", *argv]
        if without:
            wrapper = WITHOUT.format(root=str(ROOT), number=without)
            command = [sys.executable, "-c", wrapper, *command]
        child = await asyncio.create_subprocess_exec(
            *map(str, command), stdout=asyncio.subprocess.PIPE, env=sandbox.environment
        )
        answer, _ = await child.communicate()
    assert child.returncode == 0
    found: dict[str, Any] = json.loads(answer)
    assert token not in shared_memory()
    return found


def shared_memory() -> str:
    """Return the names that processes outside of the sandbox see."""
    return " ".join(path.name for path in Path("/dev/shm").iterdir())


def done(results: dict[str, Any]) -> set[str]:
    return {name for name, result in results.items() if result is not None}


async def test_a_child_reaches_its_folder_and_its_hosts_and_nothing_else(tmp_path: Path) -> None:
    assert available()
    assert abi() >= 1
    results = await reached(tmp_path)
    assert done(results) == ALLOWED | PRIVATE
    assert results["allowed host"] == "hello"


async def test_without_namespaces_ports_are_limited_by_landlock(tmp_path: Path) -> None:
    assert done(await reached(tmp_path, UNSHARE)) == ALLOWED


async def test_without_landlock_namespaces_and_the_filter_remain(tmp_path: Path) -> None:
    results = done(await reached(tmp_path, LANDLOCK))
    assert results - FILES - PROCESSES == ALLOWED | PRIVATE


async def test_a_child_without_hosts_has_no_socket(tmp_path: Path) -> None:
    results = await reached(tmp_path, hosts=())
    assert done(results) == ALLOWED - {"allowed host"} | PRIVATE


async def test_only_a_child_with_its_own_servers_can_listen(tmp_path: Path) -> None:
    results = done(await reached(tmp_path, own_port=free_port()))
    assert results - PRIVATE == ALLOWED | {"bind", "listen", "bind of the own port"}


async def test_without_namespaces_a_server_can_use_only_its_own_port(tmp_path: Path) -> None:
    results = done(await reached(tmp_path, UNSHARE, own_port=free_port()))
    assert results == ALLOWED | {"listen", "bind of the own port"}


@pytest.mark.thorough
async def test_dbt_needs_no_shared_memory(tmp_path: Path) -> None:
    """Without namespaces, /dev/shm is the machine's own, so a builder does not get it."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from app.warehouse.duckdb.dbt_backend import BACKEND\n"
        "from app.warehouse.dbt.invocation import Model, Workspace\n"
        "model = Model('one', 'select 1 as one', 'table', '', [], {})\n"
        "Workspace(Path(sys.argv[1]), BACKEND).run(model, print)\n"
    )
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "build.py").write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}")
    options = Sandbox(folder).options()
    options["read"].append(str(ROOT))
    launch = {"parent": os.getpid(), "limits": {}, "protocol": False, "sandbox": options}
    argv = [LAUNCH, json.dumps(launch), sys.executable, folder / "build.py", folder]
    wrapper = WITHOUT.format(root=str(ROOT), number=UNSHARE)
    command = [sys.executable, "-c", wrapper, sys.executable, "-I", "-S", *argv]
    child = await asyncio.create_subprocess_exec(
        *map(str, command),
        env={**os.environ, **Sandbox(folder).environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
    )
    output, _ = await child.communicate()
    assert child.returncode == 0, output.decode()
    assert "Completed successfully" in output.decode() or "OK created" in output.decode(), (
        output.decode()
    )


def test_a_child_reads_of_a_venv_only_programs_and_libraries(tmp_path: Path) -> None:
    """People make their venv in the project's folder. Then the home of the gateway lies in it."""
    venv = tmp_path / "project"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "installed.py").write_text("word = 'imported'")
    secret = venv / ".asgard" / "secrets.json"
    secret.parent.mkdir()
    secret.write_text("secret")
    told = subprocess.run(
        [python, "-c", "import json\nfrom app.sandbox.policy import Sandbox\n"
         "print(json.dumps(Sandbox().options()))"],
        env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    launch = {"parent": os.getpid(), "limits": {}, "protocol": False}
    options = json.dumps({**launch, "sandbox": json.loads(told.stdout)})
    code = (
        "import sys, zoneinfo, installed\n"
        "print(installed.word)\n"
        "try: print(open(sys.argv[1]).read())\n"
        "except PermissionError: print('denied')\n"
    )
    command = [python, "-I", "-S", LAUNCH, options, python, "-c", code, secret]
    said = subprocess.run(command, env={}, stdout=subprocess.PIPE, check=True).stdout
    assert said.decode().split() == ["imported", "denied"]


async def test_a_host_is_reached_by_its_name(tmp_path: Path) -> None:
    """The sandbox has its own hosts file, so nothing inside asks a name server."""
    code = (
        "import socket, sys\n"
        "print(socket.gethostbyname('lake.example.com'))\n"
        "print(socket.create_connection(('localhost', int(sys.argv[1]))).recv(9).decode())\n"
    )
    log = tmp_path / "log"
    async with greeting() as port:
        hosts = (("lake.example.com", 443), ("localhost", port))
        child = await ChildProcess.start(
            [sys.executable, "-c", code, str(port)],
            name="named",
            log_path=log,
            sandbox=Sandbox(tmp_path, hosts),
        )
        assert await child.wait() == 0, log.read_text()
    assert log.read_text().split() == ["127.77.0.1", "hello"]


async def test_large_amounts_of_data_pass_in_both_directions_and_end(tmp_path: Path) -> None:
    size = 32 * 2**20
    code = (
        "import hashlib, socket, sys, threading\n"
        f"sent = bytes(range(256)) * ({size} // 256)\n"
        "with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as opened:\n"
        "    def send():\n"
        "        opened.sendall(sent)\n"
        "        opened.shutdown(socket.SHUT_WR)\n"
        "    threading.Thread(target=send).start()\n"
        "    echoed = b''.join(iter(lambda: opened.recv(2**20), b''))\n"
        "print(echoed == sent)\n"
    )

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**20):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        child = await ChildProcess.start(
            [sys.executable, "-c", code, str(port)],
            name="echo",
            log_path=tmp_path / "log",
            sandbox=Sandbox(tmp_path, (("127.0.0.1", port),)),
        )
        assert await child.wait() == 0
    assert (tmp_path / "log").read_text().strip() == "True"


async def test_the_relay_ends_with_its_child(tmp_path: Path) -> None:
    import psutil

    from tests.patience import until

    async with greeting() as port:
        child = await ChildProcess.start(
            [sys.executable, "-c", "import sys; sys.stdin.read()"],
            name="idle",
            sandbox=Sandbox(tmp_path, (("127.0.0.1", port),)),
            pipe_stdin=True,
        )

        def relays() -> list[psutil.Process]:
            found = psutil.Process(child.pid).children()
            with contextlib.suppress(psutil.ZombieProcess):
                return [one for one in found if "relay.py" in " ".join(one.cmdline())]
            return []

        [relay] = await until(relays)
        os.kill(child.pid, 9)
        await child.wait()
        await until(lambda: not relay.is_running() or relay.status() == psutil.STATUS_ZOMBIE)


async def test_memory_of_processes_whose_parent_has_ended_is_counted(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "if os.fork() == 0:\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
        "    held = bytearray(b'x') * 2**28\n"
        "    print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = await ChildProcess.start(
        [sys.executable, "-c", code],
        name="with an orphan",
        sandbox=Sandbox(tmp_path),
        pipe_stdin=True,
        pipe_stdout=True,
    )
    assert await child.stdout.readline() == b"held\n"
    try:
        assert WorkerProcess(child).rss() > 2**28
    finally:
        child.kill()
        await child.wait()


@pytest.mark.parametrize("planted", ["link", "folder", "pipe"])
async def test_only_a_regular_file_is_taken_over(tmp_path: Path, planted: str) -> None:
    from app.processes.handover import open_handed_over

    (tmp_path / "secret").write_text("of the gateway")
    folder = tmp_path / "own"
    folder.mkdir()
    result = folder / "result"
    match planted:
        case "link":
            result.symlink_to(tmp_path / "secret")
        case "folder":
            result.mkdir()
        case "pipe":
            os.mkfifo(result)
    with pytest.raises(OSError, match=r"result|regular|symbolic"):
        open_handed_over(folder, "result")
