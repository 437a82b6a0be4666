"""Runs dbt for Trino without a connection to it: the gateway runs each statement, and dbt waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbt.adapters.base.impl import DEFAULT_BASE_BEHAVIOR_FLAGS
from dbt.adapters.sql.connections import SQLConnectionManager
from dbt.adapters.trino.connections import ConnectionWrapper, TrinoConnectionManager
from dbt.adapters.trino.impl import TrinoAdapter
from dbt_common.exceptions import DbtDatabaseError

from app.errors import EngineFailed
from app.processes.worker_main import Message
from app.warehouse.dbt.invocation import Backend

MACROS = Path(__file__).with_name("worker.sql")

Execute = Callable[[str], Message]
"""Runs a statement and returns its `{query_id, update_type, changed}`."""


def nothing(_: str) -> Message:
    """Run nothing. dbt warms up with this, before a gateway accepts statements."""
    return {"query_id": "", "update_type": None, "changed": -1}


def backend(catalog: str) -> Backend:
    return Backend(
        macros=MACROS,
        output={
            "type": "trino",
            # Only what dbt expects to find. `Session.use` makes its connections.
            "method": "none",
            "host": "gateway",
            "port": 0,
            "user": "asgard",
            "database": "lake",
            "schema": "worker",
            "threads": 1,
        },
        database=catalog,
        schema="worker",
        error=lambda message: EngineFailed(f"dbt failed: {message[:1000]}"),
        # The gateway adds the run's comment to the statement, so dbt adds none.
        project={"query-comment": ""},
    )


class Cursor:
    """Never has rows, since none of a worker's statements reads rows."""

    description = None

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self.query = ""
        self.query_id = ""
        self.update_type: str | None = None
        self.rowcount = -1

    def execute(self, sql: str, **_: object) -> None:
        """Ignores parameters, since the statement of a build never has any."""
        self.query = sql
        result = self._execute(sql)
        self.query_id, self.update_type = result["query_id"], result["update_type"]
        self.rowcount = result["changed"]

    def fetchall(self) -> list[Any]:
        return []

    def cancel(self) -> None:
        """Only the gateway ends queries."""


class Handle:
    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def cursor(self) -> Cursor:
        return Cursor(self._execute)

    def close(self) -> None:
        """There is nothing to close."""


class Session:
    """Decides what all connections of this process currently do with a statement."""

    def __init__(self) -> None:
        self.execute: Execute = nothing
        self._flags = tuple(DEFAULT_BASE_BEHAVIOR_FLAGS)

    def forget_adapters(self) -> None:
        """Drop the flags of earlier adapters. Each adapter of dbt-trino adds its flags to a global
        list, and every later adapter searches the call stack once for each flag."""
        DEFAULT_BASE_BEHAVIOR_FLAGS[:] = self._flags

    def use(self) -> None:
        """Make this session the source of all later connections of dbt."""
        session = self

        class Connections(TrinoConnectionManager):
            @classmethod
            def open(cls, connection: Any) -> Any:
                if connection.state != "open":
                    handle = Handle(lambda sql: session.execute(sql))
                    connection.handle = ConnectionWrapper(handle, True)  # type: ignore[no-untyped-call]
                    connection.state = "open"
                return connection

            def add_query(self, sql: str, *args: Any, **kwargs: Any) -> Any:
                """Send it whole. dbt-trino would cut it where sqlparse sees a statement's end."""
                return SQLConnectionManager.add_query(self, sql, *args, **kwargs)

            @contextmanager
            def exception_handler(self, _: str) -> Iterator[None]:
                try:
                    yield
                except Exception as error:
                    raise DbtDatabaseError(str(error)) from error

        TrinoAdapter.ConnectionManager = Connections
