"""Finds the names that an unknown one may stand for: misspellings, or another tool's word."""

from collections.abc import Collection, Iterable, Mapping

from rapidfuzz import fuzz, process

OTHERS_WORDS: Mapping[str, tuple[str, ...]] = {
    "configuration": ("config",),
    "connectionconfiguration": ("config",),
    "cron": ("cronExpression",),
    "destination": ("destination_table", "destinationId"),
    "filter": ("status_filter", "search"),
    "labels": ("tags",),
    "limit": ("page_size",),
    "lines": ("tail_lines",),
    "materialized": ("materialization",),
    "mode": ("write_mode", "sync_mode"),
    "offset": ("page",),
    "page_size": ("limit",),
    "page_token": ("cursor",),
    "path": ("source_path", "url"),
    "per_page": ("page_size", "limit"),
    "q": ("search",),
    "query": ("sql_query", "sql"),
    "schedule_type": ("scheduleType",),
    "size": ("page_size", "limit"),
    "source": ("source_path", "sourceId"),
    "sql": ("sql_query",),
    "sql_query": ("sql",),
    "state": ("status", "status_filter"),
    "status": ("state", "status_filter"),
    "strategy": ("incremental_strategy",),
    "table": ("destination_table", "target"),
    "tail": ("tail_lines",),
    "timeout": ("wait_seconds",),
    "type": ("data_product_type", "kind"),
    "wait": ("wait_seconds",),
}
"""Our names, by the words that other tools use. The first name that the route has is meant."""
LONGEST = 100
"""The longest name of a field, in characters, for which a known one is looked for."""
CUTOFF = 70.0
"""The minimum similarity of two names, in percent."""
MOST_COMPARED = 200
"""How many characters of a name are compared. The time grows with their square."""


def nearest_name(unknown: str, known: Collection[str]) -> str | None:
    if len(unknown) > LONGEST:
        return None
    for word in OTHERS_WORDS.get(unknown.lower(), ()):
        if word in known:
            return word
    return next(iter(near_matches(unknown, known, limit=1)), None)


def near_matches(
    missing: str, existing: Iterable[str], limit: int = 3, cutoff: float = CUTOFF
) -> list[str]:
    """Return the existing names nearest to `missing`, best first. `cutoff` is in percent.

    `silver.fligths` is compared by its last part first, which also finds a table with the same or
    nearly the same name in another schema.
    """
    names = list(set(existing))
    whole, last = _compared(missing)
    compared = [_compared(name) for name in names]
    near = process.extract(
        last, [part for _, part in compared], scorer=fuzz.ratio, score_cutoff=cutoff, limit=None
    )
    scored = sorted(
        (-likeness, -fuzz.ratio(whole, compared[index][0]), names[index])
        for _, likeness, index in near
    )
    return [name for _, _, name in scored[:limit]]


def _compared(name: str) -> tuple[str, str]:
    """Return the name and its last part as they are compared."""
    lowered = name.lower()
    return lowered[:MOST_COMPARED], lowered.rpartition(".")[2][:MOST_COMPARED]
