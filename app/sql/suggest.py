"""Suggests existing names for one that does not exist."""

from collections.abc import Iterable
from difflib import SequenceMatcher

CUTOFF = 0.7


def near_matches(missing: str, existing: Iterable[str], limit: int = 3) -> list[str]:
    """Return the existing names nearest to `missing`, best first.

    `silver.fligths` is compared by its last part first, which also finds a table with the same or
    nearly the same name in another schema.
    """
    lowered_missing = missing.lower()
    last = lowered_missing.rpartition(".")[2]
    compare = SequenceMatcher(b=last)  # what it learns about `b` serves every comparison
    scored = []
    for name in set(existing):
        lowered = name.lower()
        compare.set_seq1(lowered.rpartition(".")[2])
        if compare.real_quick_ratio() < CUTOFF or compare.quick_ratio() < CUTOFF:
            continue
        if (likeness := compare.ratio()) >= CUTOFF:
            whole = SequenceMatcher(None, lowered, lowered_missing).ratio()
            scored.append((-likeness, -whole, name))
    return [name for _, _, name in sorted(scored)[:limit]]
