import os
import signal
import subprocess
import sys

import psutil
import pytest

from app.processes import family as module
from app.processes.family import family

CODE = """
import os, subprocess, sys, threading, time

def sleeper():
    subprocess.Popen([sys.executable, "-c", "print('ready', flush=True); input()"])
    time.sleep(600)

if os.fork() == 0:
    os.setsid()  # leaves the session, but not the tree
    threading.Thread(target=sleeper).start()
    time.sleep(600)
time.sleep(600)
"""


@pytest.mark.parametrize("has_lists", [True, False])
def test_a_family_has_descendants_of_every_thread_and_session(
    monkeypatch: pytest.MonkeyPatch, has_lists: bool
) -> None:
    monkeypatch.setattr(module, "_has_lists", lambda: has_lists)
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    descendants = psutil.Process(process.pid).children(recursive=True)
    try:
        assert len(descendants) == 2
        assert family(process.pid) == {process.pid, *(child.pid for child in descendants)}
    finally:
        for pid in (*(child.pid for child in descendants), process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()
    assert family(process.pid) == set()


def test_a_deep_chain_of_processes_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandboxed code may fork to any depth, and its memory still counts."""
    monkeypatch.setattr(module, "_children", lambda pid: [pid + 1] if pid < 5000 else [])
    assert set(module._descendants(1)) == set(range(2, 5001))
