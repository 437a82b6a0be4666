"""Ports for servers that tests start."""

import random
import socket

PORTS = range(31_000, 32_700)
"""Below the ports of outgoing connections and beside those of the embedded lakehouse: nothing else
takes one between the look and the start."""
_given: set[int] = set()


def free_port() -> int:
    """Another one each time."""
    for port in random.sample(sorted(set(PORTS) - _given), len(PORTS) - len(_given)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError(f"all ports of {PORTS} are taken")
