"""Finds variables that begin with ASGARD_ and have no meaning."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.config.reference import variables
from app.nearest import near_matches

PREFIX = "ASGARD_"
OF_PROCESSES = frozenset({"ASGARD_PROTOCOL_FD", "ASGARD_DEMO_STARTED", "ASGARD_DEMO_COLD"})
"""Variables that Asgard's own processes pass to one another."""
CUTOFF = 65.0
"""Lower than for other names: ASGARD_HOME_DIR is to find ASGARD_HOME."""


@dataclass(frozen=True)
class UnknownVariable:
    name: str
    nearest: str | None


def unknown_among(environment: Mapping[str, str | None]) -> list[UnknownVariable]:
    known = [variable.name for variable in variables()]
    of_services = tuple(_of_services(environment))
    return [
        UnknownVariable(name, _nearest(name, known))
        for name in sorted({name.upper() for name in environment})
        if name.startswith(PREFIX)
        and name not in known
        and name not in OF_PROCESSES
        and not name.startswith(of_services)
    ]


def _of_services(environment: Iterable[str]) -> Iterator[str]:
    """Yield the prefixes that Kubernetes sets for Services in pods, for example
    ASGARD_SERVICE_SERVICE_HOST for `asgard-service`."""
    for name in environment:
        if name.endswith("_SERVICE_HOST"):
            service = name.removesuffix("_SERVICE_HOST")
            yield f"{service}_SERVICE_"
            yield f"{service}_PORT"


def _nearest(name: str, known: list[str]) -> str | None:
    """Compare what follows the prefix, since ASGARD_LOG_LEVEL means LOG_LEVEL."""
    by_rest = {candidate.removeprefix(PREFIX): candidate for candidate in known}
    near = near_matches(name.removeprefix(PREFIX), by_rest, limit=1, cutoff=CUTOFF)
    return by_rest[near[0]] if near else None
