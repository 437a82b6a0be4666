"""Variables that begin with ASGARD_ and mean nothing."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from app.config.reference import variables

PREFIX = "ASGARD_"
OF_PROCESSES = frozenset({"ASGARD_PROTOCOL_FD", "ASGARD_DEMO_STARTED", "ASGARD_DEMO_COLD"})
"""What Asgard's own processes tell one another."""
LEAST_LIKENESS = 0.6


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
    """Kubernetes tells pods of Services so: ASGARD_SERVICE_SERVICE_HOST for `asgard-service`."""
    for name in environment:
        if name.endswith("_SERVICE_HOST"):
            service = name.removesuffix("_SERVICE_HOST")
            yield f"{service}_SERVICE_"
            yield f"{service}_PORT"


def _nearest(name: str, known: list[str]) -> str | None:
    """By what follows the prefix, since whoever writes ASGARD_LOG_LEVEL means LOG_LEVEL."""
    wanted = name.removeprefix(PREFIX)

    def likeness(candidate: str) -> float:
        return SequenceMatcher(None, wanted, candidate.removeprefix(PREFIX)).ratio()

    found = max(known, key=likeness)
    return found if likeness(found) >= LEAST_LIKENESS else None
