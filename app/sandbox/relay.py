"""The way out of a network namespace: from listeners inside it to the hosts that may be reached.

The relay is a process outside the namespace. It got the listeners from inside, so that there is
nothing to choose: each of them leads to one host and port. It reads no byte of what passes.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Sequence

Address = tuple[str, int]
CONNECT_SECONDS = 10.0
CHUNK = 1 << 20
BACKLOG = 128


def start(listeners: Sequence[socket.socket], targets: Sequence[Address]) -> None:
    """What arrives at each listener goes to the target of the same place, in threads."""
    for listener, target in zip(listeners, targets, strict=True):
        threading.Thread(target=_accept, args=(listener, target), daemon=True).start()


def _accept(listener: socket.socket, target: Address) -> None:
    while True:
        inside, _ = listener.accept()
        threading.Thread(target=_join, args=(inside, target), daemon=True).start()


def _join(inside: socket.socket, target: Address) -> None:
    """A target that does not answer closes the connection: the client inside tries again, or
    says that it was refused."""
    with inside, contextlib.suppress(OSError):
        outside = socket.create_connection(target, timeout=CONNECT_SECONDS)
        with outside:
            outside.settimeout(None)
            for end in (inside, outside):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=_pump, args=(outside, inside), daemon=True)
            back.start()
            _pump(inside, outside)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Until `source` ends; both are closed for this direction then, so that neither end waits."""
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
