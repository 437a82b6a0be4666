"""Names that DuckDB reads as function calls where no column has them.

Trino, and the standard, know only columns there: `SELECT "current_user"` names a missing column.
DuckDB cannot be told to stop, but it looks for functions in the session's own schema first. There
each of these has a macro that calls a function which was dropped: binding it fails, and the error
names the column. SQL that calls such a function is translated to another one (see `app.sql`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.warehouse.duckdb_types import quoted

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
"""By the name of the missing column: the function that DuckDB 1.5 calls."""
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
    found = _MISSING.search(message)
    return found[1] if found else None
