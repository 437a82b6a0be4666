"""Finds what may stand alone of a secret once a program has read it: a line of a key, the password
in an address, a member of a JSON document."""

import json
import re
from collections.abc import Iterator
from itertools import islice
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

_ADDRESS = re.compile(r"\w:\\?/\\?/")
_REST = re.compile(r"[^\s\"'<>]*")
MOST_ADDRESSES = 50
MOST_ENDS = 8
"""Each @ in an address can be the end of the login: a password may hold one, and a query too."""
MOST_VALUES = 100
MOST_PARTS = 400
"""Parts of one secret. Each is searched for in every text."""
MOST_DOCUMENTS = 3
"""Documents within one another: JSON as a text in JSON."""
_NAME = re.compile(r"(?<![\w.-])([\w.-]{1,200})\s{0,9}[=:]\s{0,9}")
_VALUE = re.compile(
    r"\"(?P<quoted>(?:[^\"\\]|\\.|\"\"){0,4000})\"|'(?P<single>(?:[^'\\]|\\.|'')*)'"
    r"|\{(?P<braced>(?:[^}]|\}\}){0,4000})\}|(?P<bare>[^\s;&]+)",
    re.DOTALL,
)
_SIGNATURE = re.compile("sig(nature)?", re.IGNORECASE)
_HARMLESS = re.compile(
    r"(^|_)(type|kind|id|email|uri|url|endpoint|domain|region|host|hostname|port|user|username"
    r"|database|schema|warehouse|role|name|project|account|version|scopes?)$",
    re.IGNORECASE,
)
"""Endings of names in a document whose values an operator needs in a message."""


def parts_of(secret: str) -> Iterator[str]:
    """Yield the secret, and what may stand alone of it. Parts can be repeated."""
    return islice(_parts(secret, MOST_DOCUMENTS), MOST_PARTS)


def _parts(secret: str, documents: int) -> Iterator[str]:
    yield secret
    yield from _lines(secret)
    yield from _passwords(secret)
    yield from _values(secret)
    for member, is_harmless in _members(secret) if documents else ():
        if is_harmless:
            yield from _passwords(member)
            yield from _values(member)
        else:
            yield from _parts(member, documents - 1)


def _lines(secret: str) -> Iterator[str]:
    lines = secret.splitlines()
    if len(lines) < 2:
        return
    yield secret.strip()
    shortest = SHORTEST_KEY_LINE if "-----BEGIN" in secret else SHORTEST_LINE
    yield from (line for line in lines if len(line) >= shortest)


def _passwords(secret: str) -> Iterator[str]:
    """Yield the password in an address, or its whole login if it has only one part."""
    for address in islice(_ADDRESS.finditer(secret), MOST_ADDRESSES):
        rest = _REST.match(secret, address.end())
        *logins, _ = rest[0].split("@", MOST_ENDS) if rest else ("",)
        for count in range(1, len(logins) + 1):
            user, colon, password = "@".join(logins[:count]).partition(":")
            yield password if colon else user


def _values(secret: str) -> Iterator[str]:
    """Yield the secret values of a connection string, a JAAS text or the query of an address. Only
    some separate them by commas."""
    names = (name for name in _NAME.finditer(secret) if _is_secret(name[1]))
    for name in islice(names, MOST_VALUES):
        if value := _VALUE.match(secret, name.end()):
            text = value[value.lastgroup or 0]
            yield text
            yield text.partition(",")[0]


def _is_secret(name: str) -> bool:
    return is_secret_name(name) or _SIGNATURE.fullmatch(name) is not None


def _members(secret: str) -> Iterator[tuple[str, bool]]:
    """Yield the texts and numbers of a JSON document, and whether messages need them."""
    if secret.lstrip()[:1] not in {"{", "["} or len(secret) > LONGEST_DOCUMENT:
        return
    try:
        document = json.loads(secret, parse_int=str)
    except (ValueError, RecursionError):
        return
    if not is_deeper(document, MAX_DEPTH):
        yield from _texts(document, "", is_secret=False)


def _texts(value: Any, name: str, is_secret: bool) -> Iterator[tuple[str, bool]]:
    match value:
        case dict():
            for inner_name, inner in value.items():
                yield from _texts(inner, inner_name, is_secret or is_secret_name(inner_name))
        case list():
            for inner in value:
                yield from _texts(inner, name, is_secret)
        case str():
            is_harmless = _HARMLESS.search(name) is not None and not is_secret_name(name)
            yield value, is_harmless or (len(value) < SHORTEST_MEMBER and not is_secret)
        case _:
            return
