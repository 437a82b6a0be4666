"""Finds what may stand alone of a secret once a program has read it: a line of a key, the password
in an address, a member of a JSON document."""

import json
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import chain, islice
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
_LINE = re.compile(r"[^\r\n]{0,4000}")
MOST_ADDRESSES = 50
MOST_ENDS = 8
"""Each @ in an address can be the end of the login: a password may hold one, and a query too."""
MOST_VALUES = 100
LONGEST_VALUE = 4000
MOST_PARTS, MOST_GUESSES = 400, 50
"""Parts of one secret. Each is searched for in every text."""
LONGEST_PART, MOST_CHARACTERS = 16 * 1024, 128 * 1024
"""Characters of one part, and of all parts of one secret."""
MOST_DOCUMENTS = 3
"""Documents within one another: JSON as a text in JSON."""
_NAME = re.compile(r"(?<![\w.-])([\w.-]{1,200})[\"']?\s{0,9}[=:]\s{0,9}")
_WORD_BEFORE = re.compile(
    r"(?i)(?<!\w)(?:bearer|basic|digest|token|apikey|password|passwd|pwd|secret)\s{1,9}(\S{4,4000})"
)
"""The scheme of an `Authorization` header, or a name in a `.netrc`."""
_ELEMENT = re.compile(r"<([\w:.-]{1,200})[^<>]{0,200}>([^<]{4,4000})</")
_BARE_LOGIN = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}[:/]([^\s@]{4,200})@")
"""A login without a scheme, as Oracle's and Go's drivers take it."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{8,}={0,2}\s*")
_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(.*?)(?:-----END|\Z)", re.DOTALL)
_WRITTEN_BREAK = re.compile(r"\\+[nr]|%0[AaDd]")
_AROUND = " \t\r\n\v\f\u00a0\u200b\ufeff"
"""Programs remove these around a secret."""
_VALUE = re.compile(
    r"\"(?P<quoted>(?:[^\"\\]|\\.|\"\"){0,4000})\"|'(?P<single>(?:[^'\\]|\\.|'')*)'"
    r"|\{(?P<braced>(?:[^}]|\}\}){0,4000})\}|(?P<bare>[^\s;&]+)",
    re.DOTALL,
)
_SIGNATURE = re.compile("sig(nature)?", re.IGNORECASE)
_HARMLESS = re.compile(
    r"(^|_)(type|kind|id|email|uri|url|endpoint|domain|region|host|hostname|port|user|username"
    r"|database|schema|warehouse|role|name|project|account|version|scopes?|uid|server|address"
    r"|source|driver|catalog|path|https?|postgres|postgresql|mysql|mongodb|jdbc)$",
    re.IGNORECASE,
)
"""Endings of names in a document whose values an operator needs in a message."""


class _Kind(IntEnum):
    """What a member of a document is, by its name."""

    SECRET = 0
    UNKNOWN = 1
    HARMLESS = 2
    """Messages need its value, or it is too short to be hidden."""


def parts_of(secret: str) -> Iterator[str]:
    """Yield the secret, and what may stand alone of it: first what is certainly a part, and then
    guesses, which have a limit of their own."""
    yield secret
    if len(secret) > LONGEST_DOCUMENT:
        yield from islice(_lines(secret), MOST_PARTS)
        return
    parts = chain(
        islice(_unique(_certain(secret, MOST_DOCUMENTS)), MOST_PARTS),
        islice(_unique(_guesses(secret.strip(_AROUND))), MOST_GUESSES),
    )
    room = MOST_CHARACTERS
    for part in parts:
        if part != secret and len(part) <= min(LONGEST_PART, room):
            room -= len(part)
            yield part


def _certain(secret: str, documents: int) -> Iterator[str]:
    yield secret
    secret = secret.strip(_AROUND)
    yield secret
    yield from _keys(secret)
    yield from _after_words(secret)
    yield from _values(secret, of_secrets=True)
    yield from _passwords(secret)
    if documents:
        for member, kind in sorted(_members(secret), key=lambda member: member[1]):
            if kind is _Kind.HARMLESS:
                yield from _passwords(member)
                yield from _values(member, of_secrets=True)
            else:
                yield from _certain(member, documents - 1)
        if decoded := _from_base64(secret):
            yield from _certain(decoded, documents - 1)
    yield from _lines(secret)


def _guesses(secret: str) -> Iterator[str]:
    """Yield what could be a part of a text that is not a document."""
    if any(True for _ in _members(secret)):
        return
    found = [*_values(secret, of_secrets=False)]
    if ":" in secret and not any(character.isspace() for character in secret):
        found += (secret.partition(":")[2], secret.rpartition(":")[2])
    if "," in secret:
        found += (item.strip() for item in secret.split(","))
    yield from (part for part in found if len(part) >= SHORTEST_MEMBER and not part.isdecimal())


def _unique(parts: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for part in parts:
        if part not in seen:
            seen.add(part)
            yield part


def _keys(secret: str) -> Iterator[str]:
    """Yield the lines of private keys, also of a key that has lost its line breaks."""
    for key in _KEY.finditer(_WRITTEN_BREAK.sub("\n", secret)):
        lines = key[1].split()
        yield "".join(lines)
        yield from (line for line in lines if len(line) >= SHORTEST_KEY_LINE)


def _lines(secret: str) -> Iterator[str]:
    lines = secret.splitlines()
    if len(lines) < 2:
        return
    shortest = SHORTEST_KEY_LINE if "-----BEGIN" in secret else SHORTEST_LINE
    yield from (line for line in lines if len(line) >= shortest)


def _passwords(secret: str) -> Iterator[str]:
    """Yield the password in an address, or its whole login if it has only one part."""
    for address in islice(_ADDRESS.finditer(secret), MOST_ADDRESSES):
        rest = _LINE.match(secret, address.end())
        *logins, _ = rest[0].split("@", MOST_ENDS) if rest else ("",)
        for count in range(1, len(logins) + 1):
            user, colon, password = "@".join(logins[:count]).partition(":")
            yield password if colon else user


def _after_words(secret: str) -> Iterator[str]:
    """Yield what follows the scheme of a header, and the password of a login without an address."""
    for words in islice(_WORD_BEFORE.finditer(secret), MOST_VALUES):
        yield words[1]
        login = _from_base64(words[1])
        if login and ":" in login:
            yield login.partition(":")[2]
    for bare in islice(_BARE_LOGIN.finditer(secret), MOST_VALUES):
        yield bare[1]
        yield bare[1].rpartition("/")[2]
        yield bare[1].rpartition(":")[2]


def _values(secret: str, of_secrets: bool) -> Iterator[str]:
    """Yield the values of a connection string, a JAAS text, a cookie, the query of an address or
    XML: those under a secret's name, or else those that are not certainly harmless. Only some
    separate them by commas or spaces."""
    names = (
        name
        for name in _NAME.finditer(secret)
        if _is_secret(name[1]) == of_secrets and not _is_harmless(name[1])
    )
    for name in islice(names, MOST_VALUES):
        if value := _VALUE.match(secret, name.end()):
            text = value[value.lastgroup or 0].replace("}}", "}")
            yield from (text, text.partition(",")[0], text.rstrip("}])"))
            yield secret[name.end() : name.end() + LONGEST_VALUE].partition(";")[0].strip()
    elements = (e for e in _ELEMENT.finditer(secret) if of_secrets and _is_secret(e[1]))
    for element in islice(elements, MOST_VALUES):
        yield element[2]


def _from_base64(text: str) -> str | None:
    """Return the text that base64 holds, or None."""
    if _BASE64.fullmatch(text) is None:
        return None
    compact = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return b64decode(compact + "=" * (-len(compact) % 4)).decode()
    except ValueError:
        return None


def _is_harmless(name: str) -> bool:
    return _HARMLESS.search(name) is not None and not _is_secret(name)


def _is_secret(name: str) -> bool:
    return is_secret_name(name) or _SIGNATURE.fullmatch(name) is not None


def _members(secret: str) -> Iterator[tuple[str, _Kind]]:
    """Yield the texts and numbers of a JSON document."""
    if secret.lstrip()[:1] not in {"{", "["}:
        return
    try:
        document = json.loads(secret, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return
    if not is_deeper(document, MAX_DEPTH):
        yield from _texts(document, "", is_secret=False)


def _texts(value: Any, name: str, is_secret: bool) -> Iterator[tuple[str, _Kind]]:
    match value:
        case dict():
            for inner_name, inner in value.items():
                yield from _texts(inner, inner_name, is_secret or is_secret_name(inner_name))
        case list():
            for inner in value:
                yield from _texts(inner, name, is_secret)
        case str() if _is_harmless(name):
            yield value, _Kind.HARMLESS
        case str() if is_secret:
            yield value, _Kind.SECRET
        case str():
            yield value, _Kind.UNKNOWN if len(value) >= SHORTEST_MEMBER else _Kind.HARMLESS
        case _:
            return
