"""Keeps the start of a text that may have any length, and states how much is left out.

Texts from engines, workers and callers end up in responses, records and logs, where the event loop
handles them. So others must not decide their length.
"""

LONGEST_DETAIL = 4000
"""Characters of an error's detail, which every list of runs repeats."""
LONGEST_HINT = 2000
LONGEST_TEXT = 16 * 1024
"""Characters of one entry that a worker sends to a run's log."""
_NOTE = len("… (999999999999 more characters)")


def shortened(text: str, most: int, left_out: int = 0) -> str:
    """Return at most `most` characters. `left_out` were left out before. Lone surrogates, which no
    JSON, log or response can hold, become question marks."""
    if len(text) <= most and not left_out:
        return storable(text)
    start = text[: most - _NOTE]
    return f"{storable(start)}… ({left_out + len(text) - len(start)} more characters)"


def storable(text: str) -> str:
    """Return the text without lone surrogates."""
    return text if text.isascii() else text.encode(errors="replace").decode()
