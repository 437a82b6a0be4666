"""Determines where a request comes from, as far as the headers can be trusted."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope


@dataclass(frozen=True)
class Origin:
    address: str
    """Empty if unknown (a Unix socket)."""
    is_https: bool


class Proxies:
    """The trusted proxies. X-Forwarded-* headers from any other peer are ignored."""

    def __init__(self, trusted: tuple[str, ...]) -> None:
        self._networks = [ip_network(network, strict=False) for network in trusted]

    def origin(self, scope: Scope, headers: Headers) -> Origin:
        client = scope.get("client")
        peer: str = client[0] if client else ""
        is_https = scope.get("scheme") == "https"
        if not self._is_trusted(peer):
            return Origin(peer, is_https)
        scheme = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip()
        return Origin(self._behind(peer, headers), is_https or scheme == "https")

    def _behind(self, peer: str, headers: Headers) -> str:
        """Return the last address that is not a trusted proxy's. Earlier ones can be forged."""
        hops = ",".join(headers.getlist("x-forwarded-for")).split(",")
        address = peer
        for hop in reversed([hop.strip() for hop in hops if hop.strip()]):
            if _parse(hop) is None:
                break
            address = hop
            if not self._is_trusted(hop):
                break
        return address

    def _is_trusted(self, address: str) -> bool:
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address)
    except ValueError:
        return None
