"""Finds the name that an unknown one stands for: a misspelling, or another tool's word for it."""

from collections.abc import Collection, Mapping

from app.sql.suggest import near_matches

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
"""The longest name, in characters, that is compared, since comparing is slow."""


def nearest_name(unknown: str, known: Collection[str]) -> str | None:
    if len(unknown) > LONGEST:
        return None
    for word in OTHERS_WORDS.get(unknown.lower(), ()):
        if word in known:
            return word
    return next(iter(near_matches(unknown, known, limit=1)), None)
