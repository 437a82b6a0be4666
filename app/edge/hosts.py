"""Checks which host a request names, and whether the gateway serves it."""

import re
from collections.abc import Iterable

from starlette.datastructures import Headers

from app.errors import InvalidRequest, MalformedRequest

HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:@/?#\[\]\\]*)(?::(\d{0,5}))?")
"""RFC 9110, 7.2: a name or an address, and a port. IPv6 addresses are in brackets."""
HIGHEST_PORT = 65535


def refuse_other_hosts(headers: Headers, served: Iterable[str]) -> None:
    """Raise `MalformedRequest` for an invalid host, and `InvalidRequest` for one not served."""
    parts = HOST.fullmatch(headers.get("host", ""))
    if parts is None or int(parts[2] or 0) > HIGHEST_PORT:
        raise MalformedRequest(
            "The Host header is invalid. Expected a name, optionally with a port."
        )
    if not any(_matches(parts[1], allowed) for allowed in served):
        raise InvalidRequest("This host name is not served here; see TRUSTED_HOSTS.")


def _matches(host: str, allowed: str) -> bool:
    host, allowed = host.lower(), allowed.lower()
    return allowed in {"*", host} or (allowed.startswith("*.") and host.endswith(allowed[1:]))
