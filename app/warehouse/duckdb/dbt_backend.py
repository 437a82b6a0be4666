"""Configures dbt to build models in a worker's own DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.warehouse.dbt.invocation import Backend
from app.warehouse.duckdb.session import engine_error

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BACKEND = Backend(
    macros=Path(__file__).with_name("worker.sql"),
    output={"type": "duckdb", "path": ":memory:", "schema": "main"},
    database="memory",
    schema="main",
    error=engine_error,
)


def use_connection(connection: DuckDBPyConnection) -> None:
    """Make dbt-duckdb, which keeps one connection for all runs of a process, use the locked one.
    No profile could describe it: settings cannot be changed after the lock."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    environment: Any = DuckDBConnectionManager.env()
    environment.close()
    environment.conn = connection
