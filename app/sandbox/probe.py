"""`python -m app.sandbox.probe FILE PORT PID`: tries from inside what a sandboxed child can reach.

Prints JSON: whether the child could read FILE, connect to PORT of 127.0.0.1 and signal PID, and
which layers the kernel reports as active.
"""

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

CONNECT_SECONDS = 1.0


def main() -> None:
    file, port, pid = sys.argv[1:4]
    reached = {
        "file": _works(lambda: Path(file).read_bytes()),
        "network": _works(lambda: _connect(int(port))),
        "process": _works(lambda: os.kill(int(pid), 0)),
        "namespaces": _read_proc("uid_map").split()[2:] == ["1"],
        "seccomp": "Seccomp:\t2" in _read_proc("status"),
    }
    sys.stdout.write(json.dumps(reached))


def _read_proc(name: str) -> str:
    """Return the text of a file that only Linux has. Other systems have no layers either."""
    path = Path("/proc/self", name)
    return path.read_text() if path.exists() else ""


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS).close()


if __name__ == "__main__":
    main()
