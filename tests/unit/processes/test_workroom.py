"""The limits of a hostile file in the process that reads it, and of what the gateway takes."""

import fcntl
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from app.airbyte.local import sandbox
from app.airbyte.local.files.opening import opened_without_links
from app.airbyte.local.sandbox import WorkDirectories, WorkDirectory
from app.errors import EngineFailed, SourceNotFound
from app.processes import ChildProcess, WorkerProcess
from app.processes.handover import take_over

pytestmark = pytest.mark.thorough

CSV = "id\n1\n"
HOSTILE = """
import json, os, socket, sys
from pathlib import Path
home, data, own, private, inbox, other = map(Path, sys.argv[1:7])
attempts = {
    "own file": lambda: (own / "x").write_text("x"),
    "a source": lambda: (data / "a.csv").read_text(),
    "a download": lambda: (inbox / "d").read_text(),
    "a download of another job": lambda: (other / "d").read_text(),
    "the lock of its job": lambda: os.open(private / ".lock", os.O_RDONLY),
    "a change of a source": lambda: (data / "a.csv").write_text("x"),
    "a link in place of a download": lambda: (inbox / "l").symlink_to("/etc"),
    "the lake's keys": lambda: (home / "lakehouse.json").read_text(),
    "the home": lambda: os.listdir(home),
    "a connector's configuration": lambda: (home / "spool" / "config.json").read_text(),
    "a socket": lambda: socket.socket(),
    "a shell": lambda: os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", "true"]) and 1 / 0,
}
reached = []
for what, attempt in attempts.items():
    try:
        attempt()
    except (OSError, ZeroDivisionError):
        continue
    reached.append(what)
print(json.dumps(reached))
"""


@pytest.fixture
async def directories(tmp_path: Path) -> AsyncIterator[WorkDirectories]:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text(CSV)
    directories = WorkDirectories(tmp_path, roots=(tmp_path / "data",))
    await directories.open()
    yield directories
    await directories.close()


def message(path: Path) -> dict[str, Any]:
    return {
        "type": "file",
        "name": path.name,
        "path": str(path),
        "stream": "a",
        "options": {"format": "csv"},
    }


async def columns(directory: WorkDirectory, path: Path) -> list[dict[str, str]]:
    result = await directory.call("file_streams", message(path))
    [stream] = result["streams"]
    return list(stream["columns"])


async def test_a_hostile_program_in_place_of_the_file_worker_reads_only_sources(
    directories: WorkDirectories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: dict[str, Any] = {}
    start = WorkerProcess.start

    async def watched(module: str, **options: Any) -> WorkerProcess:
        received.update(options, module=module)
        return await start(module, **options)

    monkeypatch.setattr(WorkerProcess, "start", watched)
    (tmp_path / "lakehouse.json").write_text("keys")
    (tmp_path / "spool" / "config.json").write_text("secret")
    own = tmp_path / "own"
    own.mkdir()
    async with directories.for_file("any") as room:
        assert await columns(room, tmp_path / "data" / "a.csv")
        assert received["handshake"] == {}
        walls = replace(received["sandbox"], folder=own)
        async with directories.for_file("other") as other:
            for directory in (room.inbox, other.inbox):
                (directory / "d").write_text("downloaded")
            paths = [tmp_path, tmp_path / "data", own, room.private, room.inbox, other.inbox]
            child = await ChildProcess.start(
                [sys.executable, "-c", HOSTILE, *paths],
                name="hostile",
                log_path=tmp_path / "log",
                sandbox=walls,
                pipe_stdout=True,
            )
            answer = await child.stdout.read()
            assert await child.wait() == 0, child.log_tail()
    assert json.loads(answer) == ["own file", "a source", "a download"]


async def test_a_lock_that_another_process_holds_is_not_waited_for(
    directories: WorkDirectories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "spool" / "taken"
    taken.mkdir()
    with (taken / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        names = iter([str(taken)])
        monkeypatch.setattr(sandbox, "mkdtemp", lambda **how: next(names, None) or mkdtemp(**how))
        async with directories.for_file("any") as room:
            assert room.private != taken
            assert room.private.parent == tmp_path / "spool"


async def test_a_tree_that_is_too_deep_for_python_is_removed(
    directories: WorkDirectories, tmp_path: Path
) -> None:
    async with directories.for_file("any") as room:
        deep = os.open(room.directory, os.O_RDONLY)
        for _ in range(sys.getrecursionlimit() + 100):
            os.mkdir("d", dir_fd=deep)
            inner = os.open("d", os.O_RDONLY, dir_fd=deep)
            os.close(deep)
            deep = inner
        os.close(deep)
    assert not room.directory.exists()


async def test_the_file_worker_does_not_run_connectors(directories: WorkDirectories) -> None:
    from app.airbyte.local import file_worker, worker

    assert set(file_worker.open_worker({})) == {"read_file", "file_streams"}
    assert not set(worker.open_worker({})) & set(file_worker.open_worker({}))


async def test_a_directory_that_was_replaced_is_read(
    directories: WorkDirectories, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with directories.for_file("before") as directory:
        assert await columns(directory, data / "a.csv") == [{"name": "id", "type": "string"}]
    data.rename(tmp_path / "old")
    data.mkdir()
    (data / "a.csv").write_text("name\nAda\n")
    async with directories.for_file("after") as directory:
        assert await columns(directory, data / "a.csv") == [{"name": "name", "type": "string"}]


@pytest.mark.parametrize("where", ["file", "folder"])
async def test_a_link_that_replaces_an_allowed_path_is_not_followed(
    directories: WorkDirectories, tmp_path: Path, where: str
) -> None:
    """The gateway has checked the path. Then another process puts a link there."""
    folder = tmp_path / "data" / "folder"
    outside = tmp_path / "data" / "outside"
    outside.mkdir()
    (outside / "b.csv").write_text(CSV)
    if where == "file":
        folder.mkdir()
        (folder / "b.csv").symlink_to(outside / "b.csv")
    else:
        folder.symlink_to(outside)
    async with directories.for_file("raced") as directory:
        with pytest.raises(SourceNotFound, match=r"b\.csv is not a regular file"):
            await columns(directory, folder / "b.csv")


def test_an_opened_file_stays_open_when_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(CSV)
    (tmp_path / "secret").write_text("secret")
    with opened_without_links(path, "a.csv") as opened:
        path.unlink()
        path.symlink_to(tmp_path / "secret")
        assert opened.read_text() == CSV


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(SourceNotFound), opened_without_links(tmp_path / "a.csv", "a.csv"):
        pass


def test_a_handed_over_file_is_moved_out_of_reach(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "out").mkdir(parents=True)
    (own / "out" / "0.parquet").write_text("rows")
    take_over(own, own / "out" / "0.parquet", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "rows"
    assert not (own / "out" / "0.parquet").exists()


@pytest.mark.parametrize("planted", ["link", "linked folder", "folder", "pipe", "outside", "up"])
def test_other_files_are_not_taken_over(tmp_path: Path, planted: str) -> None:
    own = tmp_path / "own"
    own.mkdir()
    secret = tmp_path / "secrets" / "keys"
    secret.parent.mkdir()
    secret.write_text("of the gateway")
    file = own / "out"
    match planted:
        case "link":
            file.symlink_to(secret)
        case "linked folder":
            file.symlink_to(secret.parent)
            file = file / "keys"
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "outside":
            file = secret
        case "up":
            file = own / ".." / "secrets" / "keys"
    with pytest.raises((OSError, ValueError)):
        take_over(own, file, tmp_path / "taken")
    assert secret.read_text() == "of the gateway"
    assert not (tmp_path / "taken").is_file()


async def test_a_connectors_worker_that_dies_at_its_start_fails_the_run_as_worth_a_retry(
    directories: WorkDirectories, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This module does nothing, so that the process ends before it answers.
    monkeypatch.setattr(sandbox, "CONNECTOR_MODULE", "keyword")
    with pytest.raises(EngineFailed) as failed:
        async with directories.for_connector("toy"):
            pass
    assert failed.value.retryable
    assert "ended with exit code 0" in failed.value.detail
