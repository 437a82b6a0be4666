"""Puts the calling process into a sandbox, as far as the kernel supports it. The launcher runs it.

There are three layers, each of which works without the others: namespaces take away the network,
Landlock the files, and seccomp the system calls that bypass the other two.
"""

import json
import os
import socket
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from app.sandbox import landlock, namespaces, relay, seccomp
from app.sandbox.linux import drop_capabilities
from app.sandbox.relay import Address

FIRST_INSIDE = IPv4Address("127.77.0.1")
"""Hosts with names get loopback addresses from here on, so that two may have the same port."""


def enter(options: dict[str, Any]) -> None:
    """Enter the sandbox. `options` come from `Sandbox.options`. The process must have one thread.
    The pipes of the worker are open in it."""
    targets: list[Address] = [(host, port) for host, port in options["hosts"]]
    own_port: int | None = options["own_port"]
    networked = bool(targets) or own_port is not None
    isolated = namespaces.available() and not any(_is_foreign_ipv6(host) for host, _ in targets)
    if isolated and targets:
        _enter_network(targets, options["folder"])
    elif isolated:
        namespaces.enter()
    names = any(_address(host) is None for host, _ in targets)
    ports = None if isolated else [port for _, port in targets]
    if not isolated:
        drop_capabilities()
    if landlock.abi():
        write = options["write"] + (options["private"] if isolated else [])
        landlock.restrict(options["read"], options["execute"], write, ports, own_port)
    try:
        seccomp.restrict(networked, names and not isolated, servers=own_port is not None)
    except OSError as error:
        sys.stderr.write(f"The system call filter is not available: {error}\n")


def _enter_network(targets: Sequence[Address], folder: str) -> None:
    channel, relay_end = socket.socketpair()
    _start_relay(relay_end, targets)
    relay_end.close()
    inside, hosts = _addresses(targets)
    hosts_file = None
    if hosts:
        hosts_file = f"{folder}/hosts"
        Path(hosts_file).write_text("127.0.0.1 localhost\n" + hosts)
    namespaces.enter(hosts_file, [host for host, _ in inside if not _is_loopback(host)])
    listeners = [socket.create_server(address, backlog=relay.BACKLOG) for address in inside]
    socket.send_fds(channel, [b"listeners"], [listener.fileno() for listener in listeners])
    for listener in listeners:
        listener.close()
    # Stays open in the next program. When that program ends, the relay also ends.
    os.set_inheritable(channel.detach(), True)


def _start_relay(channel: socket.socket, targets: Sequence[Address]) -> None:
    """Fork the relay before the process enters the namespaces, so that the relay stays outside."""
    if os.fork():
        return
    try:
        _keep_only(channel.fileno())
        program = [sys.executable, "-I", "-S", relay.__file__]
        os.execv(program[0], [*program, str(channel.fileno()), json.dumps(targets)])  # noqa: S606
    finally:
        os._exit(1)


def _keep_only(descriptor: int) -> None:
    """Close everything else: while a pipe to the gateway is open, the worker seems to live."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, highest + 1)
    os.set_inheritable(descriptor, True)


def _addresses(targets: Sequence[Address]) -> tuple[list[Address], str]:
    """Return the inside address for each target, and the lines of /etc/hosts that lead there."""
    inside: list[Address] = []
    named: dict[str, str] = {"localhost": "127.0.0.1"}
    for host, port in targets:
        if _address(host) is None and host not in named:
            named[host] = str(FIRST_INSIDE + len(named) - 1)
        inside.append((named.get(host, host), port))
    del named["localhost"]
    return inside, "".join(f"{address} {name}\n" for name, address in named.items())


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_loopback


def _is_foreign_ipv6(host: str) -> bool:
    """Return whether the loopback would need this address assigned in a way that `namespaces`
    lacks."""
    return isinstance(_address(host), IPv6Address) and not _is_loopback(host)
