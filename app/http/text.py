"""Finds text that every route refuses: control characters and halves of surrogate pairs.

Engines cut text at NUL, terminals and logs obey the other control characters, and no encoding can
represent the halves. Tab, LF and CR are accepted.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
LONGEST_NAME = 100
"""The maximum number of characters of a name that an answer repeats."""

Place = tuple["Place | None", str | int]
"""The holder of a value, and the value's name or number in it. Joined only for answers."""
TextProblem = dict[str, Any]
"""`field`, `problem`, and `position`: the number of the character in the text, from 1."""


def text_faults(place: str, value: Any) -> Iterator[TextProblem]:
    """Yield all faults in a JSON value, including names of fields. A fault never repeats the text,
    which may be a secret."""
    open_: list[tuple[Place | None, Iterator[tuple[str | int, Any]]]] = [
        (None, iter([(place, value)]))
    ]
    while open_:
        outer, items = open_[-1]
        for name, item in items:
            if isinstance(item, str):
                if match := UNWANTED.search(item):
                    yield _fault((outer, name), "has", match)
            elif not item:
                continue
            elif isinstance(item, list):
                open_.append(((outer, name), enumerate(item)))
                break
            elif isinstance(item, dict):
                if UNWANTED.search("\n".join(item)):
                    yield from _faults_of_names((outer, name), item)
                open_.append(((outer, name), iter(item.items())))
                break
        else:
            open_.pop()


def _faults_of_names(at: "Place", names: Iterable[str]) -> Iterator[TextProblem]:
    for name in names:
        if match := UNWANTED.search(name):
            yield _fault(at, "has a name with", match)


def shown(name: str) -> str:
    """Return a caller's name in the form in which an answer may repeat it."""
    return UNWANTED.sub("\N{REPLACEMENT CHARACTER}", name[:LONGEST_NAME])


def path_of(place: "Place") -> str:
    """Return the names of a place, joined for an answer."""
    parts: list[str] = []
    outer: Place | None = place
    while outer is not None:
        outer, name = outer
        parts.append(shown(str(name)))
    return ".".join(reversed(parts))


def _fault(at: "Place", has: str, match: re.Match[str]) -> TextProblem:
    character, position = match.group(), match.start() + 1
    if character >= "\ud800":
        what = f"half of a surrogate pair (U+{ord(character):04X}), which is not Unicode text,"
    else:
        what = f"the control character U+{ord(character):04X}"
    problem = f"{has} {what} at position {position}"
    return {"field": path_of(at), "problem": problem, "position": position}
