"""The SQL engines, one line each, and which of them the settings select."""

from app.config import Settings
from app.warehouse.adapter import SqlAdapter
from app.warehouse.duckdb.adapter import ADAPTER as DUCKDB
from app.warehouse.trino.adapter import ADAPTER as TRINO

ADAPTERS: tuple[SqlAdapter, ...] = (
    DUCKDB,
    TRINO,
)


def sql_adapter(settings: Settings) -> SqlAdapter:
    """Return the selected adapter, or the embedded one. Use after `check_choice`."""
    technology = settings.technology_of("sql")
    if technology is None:
        return next(adapter for adapter in ADAPTERS if adapter.is_embedded)
    return next(adapter for adapter in ADAPTERS if adapter.name == technology.name)
