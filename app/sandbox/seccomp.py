"""seccomp: denies system calls to a process and its children from now on.

A denied call fails with EPERM, so that a library that tries one continues without it. Source of the
numbers: the kernel's `unistd.h` of each architecture.
"""

import ctypes
import errno
import os
import platform
import signal
import socket
import struct

from app.sandbox.linux import (
    PR_SET_PDEATHSIG,
    PR_SET_SECCOMP,
    SECCOMP_MODE_FILTER,
    forbid_new_privileges,
    prctl,
)

X86, ARM = "x86_64", "aarch64"
AUDIT_ARCH = {X86: 0xC000003E, ARM: 0xC00000B7}
X32 = 0x40000000
"""Numbers from here on belong to a second ABI on x86_64, which nothing here needs."""

UNKNOWN = 467
"""Numbers from here on, the same on both architectures, were added after this list: open_tree_attr
(6.15), file_getattr and file_setattr (6.17), and later ones. They fail as on an older kernel."""

DENIED = {
    # Access to other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    # Objects that all processes of the user share.
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # The same, by an id or a name that another process has.
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_unlink": (241, 181),
    # The kernel's log.
    "syslog": (103, 116),
    # These report the names of files that the process may not list.
    "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262),
    # Ways out of the namespaces and the file system of the process.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    # Large kernel interfaces that a query engine does not need.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    # Out of the process group, which ends together with the worker.
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # On any file of the user: Landlock does not look at these calls, or only since ABI 3.
    "truncate": (76, 45),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
}
READS_ATTRIBUTES = {
    "getxattr": (191, 8),
    "lgetxattr": (192, 9),
    "fgetxattr": (193, 10),
    "listxattr": (194, 11),
    "llistxattr": (195, 12),
    "flistxattr": (196, 13),
    "getxattrat": (464, 464),
    "listxattrat": (465, 465),
}
"""Landlock does not look at these either. They fail as on a file system without extended
attributes, which libraries expect."""
DENIED_ON_X86 = {
    "chmod": 90,
    "chown": 92,
    "lchown": 94,
    "utime": 132,
    "utimes": 235,
    "futimesat": 261,
}
"""Older calls, which ARM64 never had."""
SERVES = {"bind": (49, 200), "listen": (50, 201)}
SOCKET, SOCKETPAIR = (41, 198), (53, 199)
CLONE, CLONE3 = (56, 220), (435, 435)
TO_OWN_PROCESS = {
    "kill": (62, 129),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
}
OF_OWN_PROCESS = {
    "prlimit64": (302, 261),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
}
"""These take 0 for the caller itself. Setting the limits of another process can end it."""
SENDS = {"sendto": ((44, 206), 3), "sendmsg": ((46, 211), 2), "sendmmsg": ((307, 269), 3)}
"""Calls that send, each with the argument that holds its flags."""
FAST_OPEN = 0x20000000
"""MSG_FASTOPEN connects without connect(), which is the call that Landlock checks."""
NAMESPACES = 0x7E020080
"""CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID, -NET, and -TIME."""
CLONE_PARENT = 0x8000
"""The new process would be a child of the gateway instead."""
COMMANDS = {
    # F_SETOWN, F_SETSIG, F_SETOWN_EX: any signal to any process, which Landlock limits since ABI 6.
    # F_SETLEASE delays others that open a file. F_NOTIFY reports changes in a folder.
    (72, 25): (8, 10, 15, 1024, 1026),
    # FIOSETOWN, SIOCSPGRP: as F_SETOWN.
    # The others change any file of the user, even one that is opened for reading: FS_IOC_SETFLAGS
    # (64 and 32 bits), FS_IOC_FSSETXATTR, FS_IOC_SETVERSION (64 and 32 bits, and that of ext4),
    # FS_IOC_ENABLE_VERITY, FS_IOC_SET_ENCRYPTION_POLICY.
    (16, 29): (
        *(0x8901, 0x8902, 0x40086602, 0x40046602, 0x401C5820, 0x40087602, 0x40047602),
        *(0x40086604, 0x40046604, 0x40806685, 0x800C6613),
    ),
}
"""The denied commands (second argument) of fcntl and of ioctl."""
PRCTL = (157, 167)
OPENAT, OPENAT2 = (257, 56), (437, 437)
OPEN_ON_X86 = 2
ACCESS_MODE = 3
WITHOUT_WRITING = (os.O_TRUNC | os.O_RDONLY, os.O_TRUNC | ACCESS_MODE)
"""Before ABI 3, Landlock does not see that a file which is opened in these modes becomes empty."""

LOAD, EQUAL, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, ERROR = 0x7FFF0000, 0x00050000
NUMBER, ARCHITECTURE = 0, 4
SOCKET_TYPE = 0xF
INTERNET = (int(socket.AF_INET), int(socket.AF_INET6))
PROTOCOLS = (0, int(socket.IPPROTO_TCP), int(socket.IPPROTO_UDP))
"""Without MPTCP, because Landlock does not see its connections."""

Program = list[tuple[int, int, int, int]]


def restrict(sockets: bool, datagrams: bool, servers: bool) -> None:
    """Install the filter. `sockets` allows TCP sockets, and `datagrams` also UDP sockets, which
    look up names. All other sockets are denied. `servers` allows sockets to listen. Raises
    `OSError` if the kernel or the architecture has no filters."""
    install(program(sockets, datagrams, servers, os.getpid()))


def install(lines: Program) -> None:
    forbid_new_privileges()
    encoded = [struct.pack("=HBBI", *line) for line in lines]
    code = ctypes.create_string_buffer(b"".join(encoded))
    filter_ = struct.pack("@HxxxxxxP", len(encoded), ctypes.addressof(code))
    prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), filter_)


def program(sockets: bool, datagrams: bool, servers: bool, pid: int) -> Program:
    machine = platform.machine()
    if machine not in AUDIT_ARCH:
        raise OSError(errno.ENOSYS, f"no system call filter is known for {machine}")
    column = (X86, ARM).index(machine)
    lines: Program = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, AUDIT_ARCH[machine]),
        _refuse(),
        (LOAD, 0, 0, NUMBER),
    ]
    if machine == X86:
        lines += [(AT_LEAST, 0, 1, X32), _refuse()]
    lines += [(AT_LEAST, 0, 1, UNKNOWN), _refuse(errno.ENOSYS)]
    if machine == X86:
        for number in DENIED_ON_X86.values():
            lines += _denied(number)
        lines += _if(OPEN_ON_X86, [_argument(1), *_writes_if_it_truncates()])
    for numbers in (DENIED if servers else DENIED | SERVES).values():
        lines += _denied(numbers[column])
    for numbers in READS_ATTRIBUTES.values():
        lines += _denied(numbers[column], errno.ENOTSUP)
    lines += _denied(CLONE3[column], errno.ENOSYS)
    clone_flags = NAMESPACES | CLONE_PARENT
    lines += _if(CLONE[column], [_argument(0), (ANY_BIT, 0, 1, clone_flags), _refuse()])
    # Its flags are in memory, where a filter cannot read them. Callers have to do without it.
    lines += _denied(OPENAT2[column], errno.ENOSYS)
    lines += _if(OPENAT[column], [_argument(2), *_writes_if_it_truncates()])
    lines += _if(PRCTL[column], _keeps_death_signal())
    for numbers, commands in COMMANDS.items():
        lines += _if(numbers[column], [_argument(1), *_none_of(*commands)])
    for numbers in TO_OWN_PROCESS.values():
        lines += _if(numbers[column], [_argument(0), *_one_of(pid)])
    for numbers in OF_OWN_PROCESS.values():
        lines += _if(numbers[column], [_argument(0), *_one_of(pid, 0)])
    for numbers, flags in SENDS.values():
        lines += _if(numbers[column], [_argument(flags), (ANY_BIT, 0, 1, FAST_OPEN), _refuse()])
    lines += _if(SOCKETPAIR[column], _stream_pair())
    lines += _if(SOCKET[column], _sockets(sockets, datagrams))
    return [*lines, (RETURN, 0, 0, ALLOW)]


def _sockets(sockets: bool, datagrams: bool) -> Program:
    if not sockets:
        return [_refuse()]
    kinds = [int(socket.SOCK_STREAM), *([int(socket.SOCK_DGRAM)] if datagrams else [])]
    return [
        _argument(0),
        *_one_of(*INTERNET),
        _argument(1),
        (AND, 0, 0, SOCKET_TYPE),
        *_one_of(*kinds),
        _argument(2),
        *_one_of(*PROTOCOLS),
    ]


def _stream_pair() -> Program:
    """Allow only stream pairs: one end of a pair of datagram sockets could send to any path."""
    kind = [_argument(1), (AND, 0, 0, SOCKET_TYPE), *_one_of(int(socket.SOCK_STREAM))]
    return [_argument(0), *_one_of(int(socket.AF_UNIX)), *kind]


def _one_of(*values: int) -> Program:
    """Refuse the call unless the loaded argument is one of `values`."""
    checks = [
        (EQUAL, remaining + 1, 0, value) for remaining, value in reversed(list(enumerate(values)))
    ]
    return [*checks, _refuse()]


def _none_of(*values: int) -> Program:
    return [line for value in values for line in _denied(value)]


def _writes_if_it_truncates() -> Program:
    return [(AND, 0, 0, os.O_TRUNC | ACCESS_MODE), *_none_of(*WITHOUT_WRITING)]


def _keeps_death_signal() -> Program:
    """Allow PR_SET_PDEATHSIG only as the launcher calls it."""
    return [
        _argument(0),
        (EQUAL, 0, 3, PR_SET_PDEATHSIG),
        _argument(1),
        *_one_of(int(signal.SIGKILL)),
    ]


def _if(number: int, check: Program) -> Program:
    """Apply `check` to one call. `check` falls through if the call is allowed."""
    return [(EQUAL, 0, len(check) + 1, number), *check, (RETURN, 0, 0, ALLOW)]


def _denied(number: int, error: int = errno.EPERM) -> Program:
    return [(EQUAL, 0, 1, number), _refuse(error)]


def _refuse(error: int = errno.EPERM) -> tuple[int, int, int, int]:
    return (RETURN, 0, 0, ERROR | error)


def _argument(index: int) -> tuple[int, int, int, int]:
    """Load the lower half of an argument. The checked ints do not use the upper half."""
    return (LOAD, 0, 0, 16 + 8 * index)
