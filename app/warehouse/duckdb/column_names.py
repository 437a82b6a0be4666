"""Refuses names that DuckDB reads as function calls if no column has them.

In Trino, and in the standard, such a name is always a column: `SELECT "current_user"` names a
missing one. DuckDB has no option for this, but it searches the session's own schema for functions
first. There, each of these names has a macro that calls a dropped function. Binding the macro
fails, and the error names the column. SQL that calls such a function is translated to another one
(see `app.sql`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.sql.quoting import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FALLBACKS = {
    "current_catalog": "current_catalog",
    "current_date": "current_date",
    "current_role": "current_role",
    "current_schema": "current_schema",
    "current_time": "get_current_time",
    "current_timestamp": "get_current_timestamp",
    "current_user": "current_user",
    "localtime": "current_localtime",
    "localtimestamp": "current_localtimestamp",
    "session_user": "session_user",
    "user": "user",
}
"""The functions that DuckDB 1.5 calls, by the name of the missing column."""
_MARK = "asgard_missing_column_"
_MISSING = re.compile(rf"Function with name {_MARK}(\w+) does not exist")


def refuse_fallbacks(connection: DuckDBPyConnection) -> None:
    for name, function in FALLBACKS.items():
        gone = quoted(_MARK + name)
        connection.execute(f"CREATE MACRO {gone}() AS NULL")
        connection.execute(f"CREATE MACRO {quoted(function)}() AS {gone}()")
        connection.execute(f"DROP MACRO {gone}")


def missing_column(message: str) -> str | None:
    """Return the name of the column that DuckDB read as one of these functions."""
    match = _MISSING.search(message)
    return match[1] if match else None
