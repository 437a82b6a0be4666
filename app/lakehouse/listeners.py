"""Checks whether the server on a local port runs as our own user.

While SeaweedFS is away, any user of the machine can listen on its ports and answer in its place.
Linux shows the user of each listener; elsewhere nothing is checked.
"""

import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

TABLE = Path("/proc/net/tcp")
LINE = 150
"""Bytes. To fill a larger buffer, the kernel would go through all of its connections."""
LISTENING = b"0A"
STATE, USER = 3, 7
"""Columns, see proc_pid_net(5)."""


def is_ours(url: str) -> bool:
    """Return False if another user listens on the address of `url` (IPv4), or nobody does."""
    server = urlsplit(url)
    number = int.from_bytes(socket.inet_aton(server.hostname or ""), sys.byteorder)
    address = f"{number:08X}:{server.port or 80:04X}".encode()
    try:
        with TABLE.open("rb", buffering=LINE) as table:
            next(table)
            for line in table:
                columns = line.split()
                if columns[STATE] != LISTENING:
                    break  # the kernel shows all listeners first
                if columns[1] == address:
                    return int(columns[USER]) == os.geteuid()
    except OSError:
        return True
    return False
