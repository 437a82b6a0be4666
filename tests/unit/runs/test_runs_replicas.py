import os
import subprocess
import sys
from dataclasses import replace

from app.runs.replicas import ProcessIdentity


def identity_of(pid: int, started: str) -> ProcessIdentity:
    return replace(ProcessIdentity.own(), pid=pid, started=started)


def test_this_process_is_not_gone():
    assert not ProcessIdentity.own().is_gone()


def test_an_ended_process_is_gone_even_as_a_zombie():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    alive = ProcessIdentity.of(child.pid)
    assert not alive.is_gone()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet reaped
    assert alive.is_gone()
    child.communicate()
    assert alive.is_gone()


def test_another_process_with_the_same_pid_is_a_different_one():
    assert identity_of(os.getpid(), started="1").is_gone()


def test_processes_of_another_host_boot_or_container_do_not_count_as_gone():
    gone = identity_of(pid=2**22 + 1, started="1")
    assert gone.is_gone()
    for elsewhere in (
        replace(gone, host="other"),
        replace(gone, boot_id="other"),
        replace(gone, pid_namespace="other"),
    ):
        assert not elsewhere.is_gone()
