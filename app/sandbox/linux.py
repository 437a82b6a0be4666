"""System calls that Python's standard library does not offer. They raise `OSError`."""

import ctypes
import os
import struct

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
PR_SET_PDEATHSIG = 1
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION, CAPABILITY_BYTES = 0x20080522, 24

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def syscall(number: int, *arguments: object) -> int:
    return _checked(int(_libc.syscall(ctypes.c_long(number), *arguments)), f"system call {number}")


def prctl(option: int, *arguments: object) -> int:
    padded = [*arguments, *[ctypes.c_ulong(0)] * (4 - len(arguments))]
    return _checked(int(_libc.prctl(option, *padded)), f"prctl {option}")


def unshare(flags: int) -> None:
    _checked(int(_libc.unshare(flags)), "unshare")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    texts = [text.encode() for text in (source, target, kind)]
    _checked(
        int(_libc.mount(*texts, ctypes.c_ulong(flags), data.encode() or None)), f"mount {target}"
    )


def forbid_new_privileges() -> None:
    """Landlock and seccomp require this of an unprivileged process."""
    prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))


def drop_capabilities() -> None:
    """Remove the privileges of a process of root. Programs that it starts do not get them back."""
    forbid_new_privileges()
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    _checked(int(_libc.capset(header, bytes(CAPABILITY_BYTES))), "capset")


def _checked(result: int, operation: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{operation}: {os.strerror(error)}")
    return result
