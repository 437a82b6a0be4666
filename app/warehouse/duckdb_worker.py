# ruff: noqa: S608 — identifiers are quoted, and the SQL has passed the guard
"""`python -m app.warehouse.duckdb_worker`: plans queries and reads first rows; builds nothing.

Apart from the workers that build, so that a long build keeps nobody waiting for a plan.
"""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.lakehouse.connection import Lake
from app.warehouse.duckdb_session import open_session, our_errors
from app.warehouse.duckdb_types import describe
from app.worker_loop import Emit, Handlers, serve

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "128MB"


def _validate(connection: DuckDBPyConnection, message: dict[str, Any]) -> dict[str, Any]:
    columns = describe(connection, message["sql"])
    return {"columns": [{"name": c.name, "type": c.trino_type} for c in columns]}


def _preview(connection: DuckDBPyConnection, message: dict[str, Any]) -> dict[str, Any]:
    columns = describe(connection, message["sql"])
    limit = int(message["limit"])
    rows = connection.execute(f"SELECT * FROM (\n{message['sql']}\n) AS t LIMIT {limit}").fetchall()
    return {
        "columns": [{"name": c.name, "type": c.trino_type} for c in columns],
        "rows": [[_plain(value) for value in row] for row in rows],
    }


def _plain(value: Any) -> Any:
    """As JSON can say it: decimals and what is not finite as text, so that nothing is lost."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if value - value == 0 else str(value)
        case Decimal():
            return str(value)
        case datetime():
            text = value.isoformat()
            return text.replace("+00:00", "Z") if value.tzinfo is UTC or value.tzinfo else text
        case date() | time():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return str(value)


def open_worker(hello: dict[str, Any]) -> Handlers:
    lake = Lake.from_json(hello["lake"])
    connection = open_session(lake, Path(hello["folder"]) / "scratch", MEMORY)

    def handled(work: Any) -> Any:
        def handle(message: dict[str, Any], _: Emit) -> dict[str, Any]:
            with our_errors():
                result: dict[str, Any] = work(connection, message)
            return result

        return handle

    return {"validate": handled(_validate), "preview": handled(_preview)}


if __name__ == "__main__":
    serve(open_worker)
