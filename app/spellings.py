"""Finds a text in another one, whatever escapes it is written with there.

A message can quote a secret in JSON, in Python, in SQL, in HTML or in an address, with every
character escaped or only some, and more than once. Both texts are compared without their escapes.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from html import unescape

_Span = tuple[int, int]
"""Where something starts and ends in a text."""

MOST_ROUNDS = 4
"""A text can be encoded in several ways, one around the other."""
_ESCAPE = re.compile(
    r"(?P<percent>(?:%(?:25)*[0-9A-Fa-f]{2})+)"
    r"|(?P<bytes>(?:\\+(?:x[0-9A-Fa-f]{2}|[0-3][0-7]{2}))+)"
    r"|(?P<utf16>(?:(?:\\+u|%u)[0-9A-Fa-f]{4})+)"
    r"|\\+(?:U(?P<point>00[01][0-9A-Fa-f]{5})|u\{(?P<braced>[0-9A-Fa-f]{1,6})\})"
    r"|\\+(?P<control>[nrtbfv])"
    r"|(?P<entity>&(?:\#\d{1,7}|\#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});)"
    r"|(?P<quotes>''+|\"\"+)"
    r"|(?P<plus>\+)"
    r"|\\+"
)
_BYTE = re.compile(r"(?:x|%(?:25)*)([0-9A-Fa-f]{2})|([0-3][0-7]{2})")
_UNIT = re.compile("u([0-9A-Fa-f]{4})")
_LATIN = "asgard-latin-1"
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v"}


def unescaped(text: str) -> str:
    """Return the text without escapes. Two spellings of a text give the same result."""
    for _ in range(MOST_ROUNDS):
        if (once := _ESCAPE.sub(_meaning, text)) == text:
            break
        text = once
    return text


def replace_spelled(text: str, forms: Iterable[str], replacement: str) -> str:
    """Return the text with `replacement` in place of each form, as it is or, if it has no escapes
    itself, in any spelling."""
    forms = tuple(forms)
    places = [(at, at + len(form)) for form in forms if form in text for at in _places(form, text)]
    if _ESCAPE.search(text) is not None:
        places += _spelled(text, forms)
    return _replaced(text, sorted(places), replacement) if places else text


def _spelled(text: str, forms: Iterable[str]) -> Iterator[_Span]:
    plain = unescaped(text)
    found = [form for form in forms if form in plain]
    spans = _spans(text) if found else []
    for form in found:
        for at in _places(form, plain):
            yield spans[at][0], spans[at + len(form) - 1][1]


def _replaced(text: str, places: Iterable[_Span], replacement: str) -> str:
    """Places that overlap are replaced together."""
    parts: list[str] = []
    end = 0
    for start, stop in places:
        if start >= end:
            parts += (text[end:start], replacement)
        end = max(end, stop)
    return "".join((*parts, text[end:]))


def _places(form: str, text: str) -> Iterator[int]:
    at = text.find(form)
    while at >= 0:
        yield at
        at = text.find(form, at + len(form))


def _spans(text: str) -> list[_Span]:
    """Return where each character of the text without escapes is written in the text."""
    spans = [(at, at + 1) for at in range(len(text))]
    for _ in range(MOST_ROUNDS):
        once, within = _spans_once(text)
        if once == text:
            break
        text, spans = once, [(spans[start][0], spans[end - 1][1]) for start, end in within]
    return spans


def _spans_once(text: str) -> tuple[str, list[_Span]]:
    parts: list[str] = []
    spans: list[_Span] = []
    end = 0
    for escape in _ESCAPE.finditer(text):
        meaning = _meaning(escape)
        parts += (text[end : escape.start()], meaning)
        spans += ((at, at + 1) for at in range(end, escape.start()))
        spans += [escape.span()] * len(meaning)
        end = escape.end()
    spans += ((at, at + 1) for at in range(end, len(text)))
    return "".join((*parts, text[end:])), spans


def _meaning(escape: re.Match[str]) -> str:
    text = escape[0]
    match escape.lastgroup:
        case "percent" | "bytes":
            return bytes(map(_byte, _BYTE.findall(text))).decode(errors=_LATIN)
        case "utf16":
            units = "".join(_UNIT.findall(text))
            return bytes.fromhex(units).decode("utf-16-be", errors="replace")
        case "point" | "braced":
            point = int(escape[escape.lastgroup], 16)
            return chr(point) if point <= 0x10FFFF else ""
        case "control":
            return _CONTROLS[escape["control"]]
        case "entity":
            return unescape(text)
        case "quotes":
            return text[0]
        case "plus":
            return " "
        case _:
            return ""


def _byte(code: tuple[str, str]) -> int:
    in_hex, in_octal = code
    return int(in_hex, 16) if in_hex else int(in_octal, 8)


def _as_latin(error: UnicodeError) -> tuple[str, int]:
    """An escape can stand for a byte of UTF-8, or for a character with that number."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_LATIN, _as_latin)
