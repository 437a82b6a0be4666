"""Finds what may stand alone of a secret once a program has read it: a line of a key, the password
in an address, a member of a JSON document."""

import json
import re
from collections.abc import Iterator
from typing import Any

from app.free_json import MAX_DEPTH, is_deeper
from app.secret_marks import is_secret_name

SHORTEST = 4
"""Characters. Hiding a shorter secret would hide half of every log and protect nothing."""
SHORTEST_LINE = 16
"""Applies to secrets with several lines, such as keys in PEM format."""
SHORTEST_KEY_LINE = 8
"""The last line of a key may be short. A shorter rest tells at most five bytes of the key, and
other texts may contain it by chance."""
SHORTEST_MEMBER = 8
"""Applies to members of a document whose names do not say that they are secret."""
LONGEST_DOCUMENT = 256 * 1024

_LOGIN = re.compile(r"\w://(?P<login>[^\s\"'<>]+)@")
_NAME = re.compile(r"(?<![\w.-])([\w.-]{1,200})\s{0,9}[=:]\s{0,9}")
_VALUE = re.compile(r"\"(?P<quoted>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[^\s;&]+)")
_SIGNATURE = re.compile("sig(nature)?", re.IGNORECASE)
_HARMLESS = re.compile(
    r"(^|_)(type|kind|id|email|uri|url|endpoint|domain|region|host|hostname|port|user|username"
    r"|database|schema|warehouse|role|name|project|account|version|scopes?)$",
    re.IGNORECASE,
)
"""Endings of names in a document whose values an operator needs in a message."""


def parts_of(secret: str) -> Iterator[str]:
    """Yield the secret, and what may stand alone of it. Parts can be repeated."""
    yield secret
    yield from _lines(secret)
    yield from _passwords(secret)
    yield from _values(secret)
    for member in _members(secret):
        yield member
        yield from _lines(member)
        yield from _passwords(member)
        yield from _values(member)


def _lines(secret: str) -> Iterator[str]:
    lines = secret.splitlines()
    if len(lines) < 2:
        return
    yield secret.strip()
    shortest = SHORTEST_KEY_LINE if "-----BEGIN" in secret else SHORTEST_LINE
    yield from (line for line in lines if len(line) >= shortest)


def _passwords(secret: str) -> Iterator[str]:
    """Yield the password in an address, or its whole login if it has only one part."""
    for match in _LOGIN.finditer(secret):
        user, colon, password = match["login"].partition(":")
        yield password if colon else user


def _values(secret: str) -> Iterator[str]:
    """Yield the secret values of a connection string, a JAAS text or the query of an address. Only
    some separate them by commas."""
    for name in _NAME.finditer(secret):
        value = _VALUE.match(secret, name.end())
        if value and (is_secret_name(name[1]) or _SIGNATURE.fullmatch(name[1])):
            text = value[value.lastgroup or 0]
            yield text
            yield text.partition(",")[0]


def _members(secret: str) -> Iterator[str]:
    """Yield the texts of a JSON document that are not certainly harmless."""
    if secret.lstrip()[:1] not in {"{", "["} or len(secret) > LONGEST_DOCUMENT:
        return
    try:
        document = json.loads(secret, parse_int=float)
    except (ValueError, RecursionError):
        return
    if not is_deeper(document, MAX_DEPTH):
        yield from _texts(document, "")


def _texts(value: Any, name: str) -> Iterator[str]:
    match value:
        case dict():
            for inner_name, inner in value.items():
                yield from _texts(inner, inner_name)
        case list():
            for inner in value:
                yield from _texts(inner, name)
        case str() if is_secret_name(name):
            yield value
        case str() if len(value) >= SHORTEST_MEMBER and _HARMLESS.search(name) is None:
            yield value
        case _:
            return
