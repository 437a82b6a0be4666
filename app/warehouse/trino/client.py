"""Runs statements on Trino, tagged with their run. Its calls block: use them in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.errors import AsgardError, EngineTimeout, EngineUnreachable
from app.sql.quoting import literal
from app.telemetry.calls import SILENT, Telemetry
from app.warehouse.trino.connection import OnQuery, TrinoConnection, mark
from app.warehouse.trino.errors import asgard_error

if TYPE_CHECKING:
    from trino.dbapi import Connection

ENDED = ("FINISHED", "FAILED")
PROBE_TIMEOUT = 5.0
KILL_SECONDS = 30.0
POLL = 0.1


@dataclass(frozen=True)
class QueryResult:
    query_id: str
    names: list[str]
    types: list[str]
    """In Trino's spelling: `varchar(3)`, `row(id integer, t varchar)` …"""
    rows: list[list[Any]]
    changed: int
    """Rows that a statement wrote, or -1 if it does not write."""
    update_type: str | None
    """Trino's name for a statement that writes, for example `CREATE TABLE`; otherwise None."""


@dataclass(frozen=True)
class RunningQuery:
    query_id: str
    state: str


class TrinoClient:
    def __init__(self, connection: TrinoConnection, telemetry: Telemetry = SILENT) -> None:
        self._connection = connection
        self._telemetry = telemetry

    def query(
        self,
        sql: str,
        *,
        run_id: str | None = None,
        on_query: OnQuery | None = None,
        abandoned: threading.Event | None = None,
    ) -> QueryResult:
        """Run a statement. Raises the errors of our tree. To stop it, set `abandoned`, which ends
        its polling, and kill its query."""
        tags = (run_id,) if run_id else ()
        text = f"{mark(run_id)}\n{sql}" if run_id else sql
        with self._telemetry.call("trino", "query"):
            return _execute(self._connection.connect(tags, on_query, abandoned), text)

    def ask(self, sql: str, seconds: float) -> QueryResult:
        """Run a short query. Raises `EngineTimeout` if Trino takes longer than `seconds`."""
        deadline = time.monotonic() + seconds
        connection = self._connection.connect(read_timeout=seconds, attempts=1)
        with self._telemetry.call("trino", "ask"):
            return _execute(connection, sql, deadline)

    def reach(self) -> None:
        """Check without a query that Trino answers at its address."""
        import requests
        from trino.exceptions import HttpError, TrinoConnectionError

        with self._telemetry.call("trino", "info"):
            try:
                response = requests.get(
                    f"{self._connection.url}/v1/info",
                    timeout=(PROBE_TIMEOUT, PROBE_TIMEOUT),
                    verify=self._connection.verify,
                )
                if not response.ok:
                    raise asgard_error(HttpError(f"error {response.status_code}"))
                response.json()["nodeVersion"]
            except requests.ConnectionError as error:
                raise asgard_error(TrinoConnectionError(str(error))) from error
            except requests.Timeout as error:
                raise EngineTimeout("Trino did not respond in time.") from error
            except (ValueError, KeyError, TypeError) as error:
                raise asgard_error(error) from error

    def queries_of(self, run_id: str) -> list[RunningQuery]:
        """Return the run's queries that the coordinator still knows, by the comment with which each
        one begins. Elsewhere, the text may be a caller's, or a name in the data."""
        answer = self.query(
            "SELECT query_id, state FROM system.runtime.queries "  # noqa: S608
            f"WHERE starts_with(query, {literal(mark(run_id))}) ORDER BY created"
        )
        return [RunningQuery(query_id, state) for query_id, state in answer.rows]

    def kill_queries_of(self, run_id: str) -> list[str]:
        """Kill the run's queries that still run, wait for their end, and return the ids of all."""
        deadline = time.monotonic() + KILL_SECONDS
        while True:
            queries = self.queries_of(run_id)
            running = [query for query in queries if query.state not in ENDED]
            if not running:
                return [query.query_id for query in queries]
            if time.monotonic() > deadline:
                raise EngineTimeout("Trino did not end a query that was killed.")
            for query in running:
                self._kill(query.query_id)
            time.sleep(POLL)

    def _kill(self, query_id: str) -> None:
        try:
            self.query(
                f"CALL system.runtime.kill_query(query_id => {literal(query_id)}, "
                "message => 'The run that it belongs to is over.')"
            )
        except (EngineUnreachable, EngineTimeout):
            raise
        except AsgardError:
            # The query may have ended by itself. The next poll shows whether it did.
            pass


def _execute(connection: Connection, sql: str, deadline: float | None = None) -> QueryResult:
    from trino.exceptions import Error, HttpError

    try:
        cursor = connection.cursor()
        cursor.execute(sql)
        rows: list[list[Any]] = []
        while batch := cursor.fetchmany(1000):
            rows.extend(list(row) for row in batch)
            if deadline is not None and time.monotonic() > deadline:
                cursor.cancel()
                raise EngineTimeout("Trino did not respond in time.")
        described: Sequence[Any] = cursor.description or ()
        return QueryResult(
            query_id=cursor.query_id or "",
            names=[column.name for column in described],
            types=[column.type_code for column in described],
            rows=rows,
            changed=cursor.rowcount,
            update_type=cursor.update_type,
        )
    except (Error, HttpError, ValueError, KeyError, TypeError) as error:
        raise asgard_error(error) from error
    finally:
        connection.close()  # type: ignore[no-untyped-call]
