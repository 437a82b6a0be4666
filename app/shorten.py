"""Keeps the start of a text that may have any length, and says how much is left out.

What engines, workers and callers say ends in answers, in records and in logs, and the event loop
handles it there: no text may have a length that others choose.
"""

LONGEST_DETAIL = 4000
"""Characters of what an error says. Every list of runs repeats it."""
LONGEST_HINT = 2000
LONGEST_TEXT = 16 * 1024
"""Characters of one entry that a worker sends to a run's log."""
_NOTE = len("… (999999999999 more characters)")


def shortened(text: str, most: int, left_out: int = 0) -> str:
    """Return at most `most` characters. `left_out` were left out before."""
    if len(text) <= most and not left_out:
        return text
    kept = text[: most - _NOTE]
    return f"{kept}… ({left_out + len(text) - len(kept)} more characters)"
