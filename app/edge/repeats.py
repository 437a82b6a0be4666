"""Refuses headers, parameters and fields that are repeated although only one value can count.
Programs differ in which one they use, so a proxy may have checked a different one than the gateway
would use."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from starlette.datastructures import Headers

from app.errors import InvalidBody, MalformedRequest
from app.http.known_names import MOST_NAMED
from app.http.text import Place, path_of, shown

SINGLE_HEADERS = (
    *("Host", "Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "If-Match"),
    *("Origin", "Sec-Fetch-Site", "Last-Event-ID", "Content-Encoding", "Content-Range"),
)
HINT = "Send each name once."
PROBLEM = "is given more than once"


class _Repeating(dict[str, Any]):
    """An object in which `names` are given more than once."""

    names: tuple[str, ...]


def refuse_repeated_headers(headers: Headers) -> None:
    """Raise `MalformedRequest` if a header is repeated that may be sent only once."""
    for name in SINGLE_HEADERS:
        if len(headers.getlist(name)) > 1:
            raise MalformedRequest(f"The header {name} is given more than once; expected once.")


def refuse_repeated_parameters(names: Iterable[str], lists: Iterable[str]) -> None:
    """Raise `InvalidBody` if a parameter is repeated that is not in `lists`."""
    counted = Counter(names)
    _refuse("query." + shown(name) for name in counted if counted[name] > 1 and name not in lists)


def refuse_repeated_fields(body: bytes) -> None:
    """Raise `InvalidBody` if an object in `body`, which is JSON, repeats a name."""
    repeating_objects: list[_Repeating] = []

    def to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        plain = dict(pairs)
        if len(plain) == len(pairs):
            return plain
        repeating = _Repeating(plain)
        repeating.names = tuple(islice(_repeated(pairs), MOST_NAMED))
        repeating_objects.append(repeating)
        return repeating

    value = json.loads(body, object_pairs_hook=to_object)
    if repeating_objects:
        _refuse(_paths(value))


def _repeated(pairs: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Yield each repeated name once."""
    times: dict[str, int] = {}
    for name, _ in pairs:
        times[name] = times.get(name, 0) + 1
        if times[name] == 2:
            yield name


def _refuse(fields: Iterable[str]) -> None:
    faults = [{"field": field, "problem": PROBLEM} for field in islice(fields, MOST_NAMED)]
    if faults:
        detail = "; ".join(f"{fault['field']}: {PROBLEM}" for fault in faults)
        raise InvalidBody(detail, hint=HINT, errors=faults)


def _paths(value: Any) -> Iterator[str]:
    """Yield the path of each repeated name. Of a name given twice, only the last value is searched:
    the path of that name is then yielded anyway. Only yielded paths are joined: a body may have
    many values at a great depth."""
    open_: list[tuple[Place, Any]] = [((None, "body"), value)]
    while open_:
        place, item = open_.pop()
        if isinstance(item, _Repeating):
            yield from (path_of((place, name)) for name in item.names)
        if isinstance(item, dict):
            open_ += [((place, name), inner) for name, inner in item.items() if _holds(inner)]
        elif isinstance(item, list):
            open_ += [((place, at), inner) for at, inner in enumerate(item) if _holds(inner)]


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list)
