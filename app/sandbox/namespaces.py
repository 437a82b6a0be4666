"""Gives a process a private network, which has only a loopback, and a private /dev/shm.

Source: namespaces(7), user_namespaces(7). This needs no privilege if the system lets users create
user namespaces. Some distributions and most pods do not.
"""

import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from app.sandbox.linux import mount, unshare

NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_NET = 0x00020000, 0x08000000, 0x10000000, 0x40000000
SET_FLAGS, SET_ADDRESS, INTERFACE_UP = 0x8914, 0x8916, 0x1 | 0x40
NO_SUID, NO_DEVICES, NO_EXECUTE, BIND = 0x2, 0x4, 0x8, 0x1000
INSIDE = 1000
"""Not 0: a process that is root in its own namespace would keep that namespace's privileges."""
SHARED_MEMORY = "size=64m,mode=0700"
HOSTS = "/etc/hosts"


def enter(hosts_file: str | None = None, addresses: Sequence[str] = ()) -> None:
    """Enter new namespaces. The process must have one thread. `hosts_file` replaces /etc/hosts. The
    loopback gets the IPv4 `addresses`. Raises `OSError`, which may leave the process halfway, so
    call `available` first."""
    user, group = os.geteuid(), os.getegid()
    unshare(NEW_USER | NEW_NET | NEW_IPC | NEW_MOUNTS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{INSIDE} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{INSIDE} {group} 1")
    _raise_loopback(addresses)
    if Path("/dev/shm").is_dir():  # noqa: S108 — a private one is about to replace it
        mount("tmpfs", "/dev/shm", "tmpfs", NO_SUID | NO_DEVICES | NO_EXECUTE, SHARED_MEMORY)  # noqa: S108
    if hosts_file is not None:
        mount(hosts_file, HOSTS, "", BIND)


def available() -> bool:
    """Return whether `enter` works here, by trying it in a separate process."""
    child = os.fork()
    if child == 0:
        try:
            enter()
        except OSError:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return status == 0


def _raise_loopback(addresses: Sequence[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.pack("16sH14x", b"lo", INTERFACE_UP)
        fcntl.ioctl(any_socket, SET_FLAGS, flags)
        for number, address in enumerate(addresses, 1):
            internet = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
            alias = struct.pack("16s16s", f"lo:{number}".encode(), internet)
            fcntl.ioctl(any_socket, SET_ADDRESS, alias)
