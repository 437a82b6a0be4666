"""Describes what a sandboxed child may use. The code that starts the child decides it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import app
from app.sandbox.relay import Address

SYSTEM = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
)
"""Programs, libraries and facts about the machine, but no secrets and no other processes."""
PROGRAMS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
"""Shared libraries and their loader, but no shell."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
RUNTIME = (
    "bin",
    "lib",
    "lib64",
    "pyvenv.cfg",
    "share/zoneinfo",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
)
"""The parts of a Python installation or a venv that imports need. Its folder can hold other files,
too, even the home of the gateway."""
SHARED_MEMORY = "/dev/shm"  # noqa: S108 — allowed only where namespaces make it private


def readable() -> list[str]:
    """Return the paths that every sandboxed child may read."""
    prefixes = (Path(sys.prefix), Path(sys.base_prefix))
    runtime = [str(prefix / name) for prefix in prefixes for name in RUNTIME]
    return [*SYSTEM, *runtime, str(Path(app.__file__).parent)]


@dataclass(frozen=True)
class Sandbox:
    """`folder` belongs to the child and is the only place where it may write, including temporary
    files. `hosts` are the hosts that it may connect to. Without hosts it has no socket. It may
    listen on `own_port`, and connect to its own servers there. Only user namespaces keep other
    processes away from those servers, and the port free."""

    folder: Path | None = None
    hosts: tuple[Address, ...] = ()
    own_port: int | None = None
    reads: tuple[Path, ...] = ()
    """Folders and files that it may also read."""

    @property
    def environment(self) -> dict[str, str]:
        folder = "/nonexistent" if self.folder is None else str(self.folder)
        return {"HOME": folder, "TMPDIR": folder}

    def options(self) -> dict[str, Any]:
        """Return the options for the launcher, ready for JSON."""
        return {
            "folder": None if self.folder is None else str(self.folder),
            "hosts": [list(host) for host in self.hosts],
            "own_port": self.own_port,
            "read": [*readable(), *map(str, self.reads)],
            "execute": [*PROGRAMS, str(Path(sys.executable).resolve())],
            "write": [*([str(self.folder)] if self.folder else []), *DEVICES],
            "private": [SHARED_MEMORY],
        }
