"""Finds what DuckDB's regular expressions cannot tell, or read in another way."""

import re
from dataclasses import dataclass

_ESCAPED = re.compile(r"\\.|\[:\^?[a-z]+:", re.DOTALL)
"""Also the names of classes, `[:alpha:]`, which both engines read."""


@dataclass
class _Group:
    """Describes one pair of parentheses, or the whole pattern."""

    around: "_Group | None" = None
    is_optional: bool = False
    has_alternatives: bool = False
    captures: bool = True


def may_be_left_out(pattern: str, number: int) -> bool:
    """Return whether a match may leave out the group: it is NULL in Trino, and empty in DuckDB."""
    groups = [group for group in _groups(pattern) if group.captures]
    if not 0 < number < len(groups):
        return False
    group: _Group | None = groups[number]
    while group is not None:
        around = group.around
        if group.is_optional or (around is not None and around.has_alternatives):
            return True
        group = around
    return False


def combines_classes(pattern: str) -> bool:
    """Return whether a class holds another one, as in `[a-z&&[^aeiou]]`: DuckDB takes `&` and `[`
    for members."""
    at = 0
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 1
        elif pattern[at] == "[":
            end = _end_of_class(pattern, at)
            members = _ESCAPED.sub("", pattern[at + 1 : end])
            if "&&" in members or "[" in members:
                return True
            at = end
        at += 1
    return False


def _groups(pattern: str) -> list[_Group]:
    """Return the whole pattern, and then its groups in the order of their parentheses."""
    current = _Group()
    groups = [current]
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif char == "[":
            at = _end_of_class(pattern, at)
        elif char == "(":
            current = _Group(current, captures=_captures(pattern[at + 1 : at + 4]))
            groups.append(current)
        elif char == "|":
            current.has_alternatives = True
        elif char == ")" and current.around is not None:
            current.is_optional = pattern[at + 1 : at + 2] in ("?", "*") or (
                pattern[at + 1 : at + 3] in ("{0", "{,")
            )
            current = current.around
        at += 1
    return groups


def _captures(start: str) -> bool:
    if not start.startswith("?"):
        return True
    return start.startswith("?P<") or (start.startswith("?<") and start[2:] not in ("=", "!"))


def _end_of_class(pattern: str, start: int) -> int:
    """Return the place of the bracket that ends a class. One that comes first is a member."""
    at = start + 2 if pattern[start + 1 : start + 2] == "^" else start + 1
    if pattern[at : at + 1] == "]":
        at += 1
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at
