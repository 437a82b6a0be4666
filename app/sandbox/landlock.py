"""Landlock: the files and TCP ports that a process and its children may use from now on.

Source: the kernel's documentation, userspace-api/landlock. ABI 1 (Linux 5.13) limits files, ABI 3
(6.2) truncation, ABI 4 (6.7) TCP ports, ABI 6 (6.12) signals and abstract Unix sockets.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from app.sandbox.linux import forbid_new_privileges, syscall

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION = 1
PATH_BENEATH, NET_PORT = 1, 2

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
BIND_TCP, CONNECT_TCP = 1 << 0, 1 << 1
ABSTRACT_SOCKETS, SIGNALS = 1 << 0, 1 << 1
READ = READ_FILE | READ_DIR
FILE_RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
"""The number of rights, from the first on, that an ABI knows. Later ABIs know 16."""
TRUNCATION_SINCE, PORTS_SINCE, SCOPES_SINCE = 3, 4, 6


def abi() -> int:
    """Return the version that the kernel offers, or 0 if it has no Landlock."""
    try:
        return syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(VERSION))
    except OSError:
        return 0


def restrict(
    read: Iterable[str],
    execute: Iterable[str],
    write: Iterable[str],
    ports: Iterable[int] | None = None,
    own_port: int | None = None,
) -> None:
    """Limit this process. Paths that do not exist are left out. `ports` are the TCP ports that it
    may connect to, on any host; None does not limit TCP. It may listen on `own_port` and connect
    to it. Raises `OSError` without Landlock."""
    version = abi()
    files = (1 << FILE_RIGHTS_OF_ABI.get(version, 16)) - 1
    net = BIND_TCP | CONNECT_TCP if ports is not None and version >= PORTS_SINCE else 0
    scopes = ABSTRACT_SOCKETS | SIGNALS if version >= SCOPES_SINCE else 0
    ruleset = _ruleset(version, files, net, scopes)
    try:
        for rights, paths in (
            (READ, read),
            (READ | EXECUTE, execute),
            (files & ~EXECUTE, write),
        ):
            for path in paths:
                _allow_path(ruleset, path, rights & files)
        for port in (ports or ()) if net else ():
            _allow_port(ruleset, port, CONNECT_TCP)
        if net and own_port is not None:
            _allow_port(ruleset, own_port, CONNECT_TCP | BIND_TCP)
        forbid_new_privileges()
        syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)


def _ruleset(version: int, files: int, net: int, scopes: int) -> int:
    field_count = 1 if version < PORTS_SINCE else 2 if version < SCOPES_SINCE else 3
    attributes = struct.pack(f"={field_count}Q", *(files, net, scopes)[:field_count])
    return syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))


def _allow_path(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= ON_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        _add(ruleset, PATH_BENEATH, rule)
    finally:
        os.close(descriptor)


def _allow_port(ruleset: int, port: int, rights: int) -> None:
    _add(ruleset, NET_PORT, struct.pack("=QQ", rights, port))


def _add(ruleset: int, kind: int, rule: bytes) -> None:
    syscall(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(kind), rule, ctypes.c_uint(0))
