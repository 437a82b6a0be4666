# ruff: noqa: S608 — identifiers are quoted, and the SQL has passed the guard
"""`python -m app.warehouse.duckdb.planner`: plans queries and reads first rows, but builds nothing.

It is separate from the workers that build, so that no plan waits for a long build.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.lakehouse.connection import Lake
from app.processes.worker_main import Emit, Handlers, serve
from app.warehouse.duckdb.session import duckdb_error, open_session, our_errors, position_in
from app.warehouse.duckdb.types import describe
from app.warehouse.values import plain

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "128MB"


def _validate(connection: DuckDBPyConnection, message: dict[str, Any]) -> dict[str, Any]:
    import duckdb

    sql = message["sql"]
    try:
        columns = describe(connection, sql)
    except duckdb.Error as cause:
        error = duckdb_error(cause)
        if position := position_in(sql, str(cause)):
            error.members["position"] = position
        raise error from cause
    return {"columns": [{"name": c.name, "type": c.trino_type} for c in columns]}


def _preview(connection: DuckDBPyConnection, message: dict[str, Any]) -> dict[str, Any]:
    columns = describe(connection, message["sql"])
    limit = int(message["limit"])
    rows = connection.execute(f"SELECT * FROM (\n{message['sql']}\n) AS t LIMIT {limit}").fetchall()
    return {
        "columns": [{"name": c.name, "type": c.trino_type} for c in columns],
        "rows": [[plain(value) for value in row] for row in rows],
    }


def open_worker(handshake: dict[str, Any]) -> Handlers:
    lake = Lake.from_json(handshake["lake"])
    connection = open_session(lake, Path(handshake["folder"]) / "scratch", MEMORY)

    def handled(work: Any) -> Any:
        def handle(message: dict[str, Any], _: Emit) -> dict[str, Any]:
            with our_errors():
                result: dict[str, Any] = work(connection, message)
            return result

        return handle

    return {"validate": handled(_validate), "preview": handled(_preview)}


if __name__ == "__main__":
    serve(open_worker)
