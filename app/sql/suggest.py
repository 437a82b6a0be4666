"""Suggests existing names for one that does not exist."""

from collections.abc import Iterable

from rapidfuzz import fuzz, process

CUTOFF = 70.0
"""The minimum similarity of two names, in percent."""
LONGEST = 200
"""How many characters of a name are compared. The time grows with their square."""


def near_matches(missing: str, existing: Iterable[str], limit: int = 3) -> list[str]:
    """Return the existing names nearest to `missing`, best first.

    `silver.fligths` is compared by its last part first, which also finds a table with the same or
    nearly the same name in another schema.
    """
    names = list(set(existing))
    whole, last = _compared(missing)
    compared = [_compared(name) for name in names]
    near = process.extract(
        last, [part for _, part in compared], scorer=fuzz.ratio, score_cutoff=CUTOFF, limit=None
    )
    scored = sorted(
        (-likeness, -fuzz.ratio(whole, compared[index][0]), names[index])
        for _, likeness, index in near
    )
    return [name for _, _, name in scored[:limit]]


def _compared(name: str) -> tuple[str, str]:
    """Return the name and its last part as they are compared."""
    lowered = name.lower()
    return lowered[:LONGEST], lowered.rpartition(".")[2][:LONGEST]
