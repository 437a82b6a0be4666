"""Launches a child process: `python -I -S launch.py OPTIONS PROGRAM ARGUMENT…`.

This is a separate program instead of `preexec_fn`, because Python code between fork and exec may
deadlock in a gateway with threads. It imports only the standard library and `app.sandbox`, which
itself imports only the standard library.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

PROTOCOL_FD = "ASGARD_PROTOCOL_FD"
PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Make the kernel kill this process when the gateway dies, however that happens.

    Only Linux can do this. Elsewhere, workers end at the end of their stdin, and the next start
    ends a remaining SeaweedFS.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the gateway died while this process was starting")


def limit(limits: dict[str, int]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, requested in limits.items():
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        allowed = requested if hard == resource.RLIM_INFINITY else min(requested, hard)
        resource.setrlimit(kind, (allowed, allowed))


def reserve_stdout_for_protocol() -> None:
    """Send everything printed from here on to the log. Libraries print even while imported."""
    protocol = os.dup(1)
    os.set_inheritable(protocol, True)
    os.dup2(2, 1)
    os.environ[PROTOCOL_FD] = str(protocol)


def confine(sandbox: dict[str, object]) -> None:
    """Enter the sandbox. Called last, since the launcher needs more than the child's program."""
    # At the end of the path, since `app` has modules that share names with the standard library.
    sys.path.append(str(Path(__file__).parents[2]))
    from app.sandbox.enter import enter

    enter(sandbox)


def main() -> None:
    options = json.loads(sys.argv[1])
    die_with(options["parent"])
    limit(options["limits"])
    if options["protocol"]:
        reserve_stdout_for_protocol()
    if sandbox := options.get("sandbox"):
        confine(sandbox)
        die_with(options["parent"])
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 — that is its purpose


if __name__ == "__main__":
    main()
