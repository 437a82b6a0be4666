"""Connects listeners inside a network namespace with the hosts that the process may reach.

`python -I -S relay.py CHANNEL TARGETS` runs outside the namespace. It gets the listeners from
inside over the socket CHANNEL. Each listener leads to one fixed target of TARGETS (JSON), so the
process inside cannot choose a target. The relay does not look at the bytes that pass. It ends when
the other end of CHANNEL closes.
"""

import contextlib
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Sequence

Address = tuple[str, int]
CONNECT_SECONDS = 10.0
CHUNK = 1 << 20
BACKLOG = 128


def main() -> None:
    targets: Sequence[Address] = [(host, port) for host, port in json.loads(sys.argv[2])]
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        _, descriptors, _, _ = socket.recv_fds(channel, 16, max(1, len(targets)))
        for descriptor, target in zip(descriptors, targets, strict=True):
            listener = socket.socket(fileno=descriptor)
            threading.Thread(target=_accept, args=(listener, target), daemon=True).start()
        while channel.recv(16):
            continue


def _accept(listener: socket.socket, target: Address) -> None:
    while True:
        inside, _ = listener.accept()
        threading.Thread(target=_join, args=(inside, target), daemon=True).start()


def _join(inside: socket.socket, target: Address) -> None:
    with inside, contextlib.suppress(OSError):
        try:
            outside = socket.create_connection(target, timeout=CONNECT_SECONDS)
        except OSError:
            # Resets the connection, so that its client sees a network error, not an empty answer.
            inside.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        with outside:
            outside.settimeout(None)
            for end in (inside, outside):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=_pump, args=(outside, inside), daemon=True)
            back.start()
            _pump(inside, outside)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy until `source` ends. Then close this direction on both, so that neither end waits."""
    out, into = os.pipe()
    try:
        while moved := os.splice(source.fileno(), into, CHUNK):
            while moved:
                moved -= os.splice(out, sink.fileno(), moved)
    except OSError:
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RD)
    finally:
        os.close(out)
        os.close(into)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
