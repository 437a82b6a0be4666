"""Counts the values in a body before it is parsed, since the event loop visits each of them."""

import re

MOST_PARTS = 100_000
"""The approximate limit for the number of values in a body."""
TOO_MANY_PARTS = f"body: has more than {MOST_PARTS} values; expected fewer"
TEXTS = re.compile(b'"[^"]*"?')


def has_too_many_parts(body: bytes) -> bool:
    """Count the characters that precede values, outside of strings."""
    if _marks(body) <= MOST_PARTS:
        return False
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    # Each value has at most two texts: its own and its name.
    if plain.count(b'"') > 4 * (MOST_PARTS + 1):
        return True
    return _marks(TEXTS.sub(b"", plain)) > MOST_PARTS


def _marks(body: bytes) -> int:
    return sum(map(body.count, (b",", b"[", b"{")))
