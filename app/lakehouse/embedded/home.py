"""The state that gateways on one `ASGARD_HOME` share: ports, keys, and which one runs SeaweedFS."""

import json
import random
import secrets
import socket
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path

from app.files import FileLock, replace_atomically

LISTENERS = (
    "s3.port",
    "s3.port.grpc",
    "s3.port.iceberg",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "webdav.port",
)
"""All listeners except `admin.port` and `admin.port.grpc`, which depend on each other."""
ADMIN_GRPC_OFFSET = 10_000
"""SeaweedFS's own worker expects the admin server's gRPC at this offset, whatever is configured."""
LOWEST, HIGHEST = 20_000, 30_000
"""Below the ports that Linux and macOS give to outgoing connections, which could take a stored port
while SeaweedFS is down."""


@dataclass(frozen=True)
class Shared:
    access_key: str
    secret_key: str = field(repr=False)
    ports: dict[str, int]


class Home:
    """The directory (0700) and its state file (0600), written only by the owner."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
        self.owner = FileLock(path / "owner.lock")
        self.attached = FileLock(path / "attached.lock")
        self._file = path / "lakehouse.json"
        self._child_file = path / "seaweedfs.pid"

    def read(self) -> Shared | None:
        if not self._file.exists():
            return None
        return Shared(**json.loads(self._file.read_text()))

    def write(self, shared: Shared) -> None:
        replace_atomically(self._file, json.dumps(asdict(shared), indent=2).encode())

    def remember_child(self, pid: int) -> None:
        import psutil

        started = psutil.Process(pid).create_time()
        replace_atomically(self._child_file, f"{pid} {started}".encode())

    def forget_child(self) -> None:
        self._child_file.unlink(missing_ok=True)

    def leftover_child(self) -> int | None:
        """Return the pid of a SeaweedFS that a dead gateway left and the system did not end."""
        import psutil

        if not self._child_file.exists():
            return None
        pid, started = self._child_file.read_text().split()
        try:
            child = psutil.Process(int(pid))
            same = child.create_time() == float(started)
            # In a container, there may be no process that reaps it.
            alive = child.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return child.pid if same and alive else None


def new_shared(previous: Shared | None = None) -> Shared:
    """Return new ports and the previous keys, if any, which SeaweedFS stores with its data."""
    return Shared(
        access_key=previous.access_key if previous else f"asgard-{secrets.token_hex(8)}",
        secret_key=previous.secret_key if previous else secrets.token_urlsafe(32),
        ports=free_ports(avoided=previous.ports.values() if previous else ()),
    )


def free_ports(avoided: Collection[int] = ()) -> dict[str, int]:
    """Return a free port for each listener, and none of `avoided`."""
    candidates = random.sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST)
    free = (port for port in candidates if port not in avoided and is_free(port))
    ports = {name: next(free) for name in LISTENERS}
    taken = set(ports.values())
    for port in free:
        above = port + ADMIN_GRPC_OFFSET
        if port < LOWEST + 2_000 and port not in taken and above not in avoided and is_free(above):
            return ports | {"admin.port": port, "admin.port.grpc": above}
    raise OSError(f"no free ports are left between {LOWEST} and {HIGHEST}")


def free_port() -> int:
    """Return a port of 127.0.0.1 that the kernel does not give to outgoing connections."""
    candidates = random.sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST)
    return next(port for port in candidates if is_free(port))


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
