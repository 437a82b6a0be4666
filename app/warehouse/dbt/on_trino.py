"""What dbt has to know to build models on Trino: our connections, our errors, our marks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbt.adapters.sql.connections import SQLConnectionManager
from dbt.adapters.trino.connections import ConnectionWrapper, TrinoConnectionManager
from dbt.adapters.trino.impl import TrinoAdapter
from dbt_common.exceptions import DbtDatabaseError

from app.errors import AsgardError, EngineFailed
from app.telemetry.outcomes import Outcome
from app.warehouse.dbt.workspace import Backend
from app.warehouse.trino_connection import TrinoConnection, mark
from app.warehouse.trino_errors import asgard_error
from app.worker_spans import Frame, span

MACROS = Path(__file__).with_name("macros") / "trino_worker.sql"


class Session:
    """What the connections of this process share: where Trino is, and the model that is built."""

    def __init__(self, trino: TrinoConnection) -> None:
        self.trino = trino
        self.on_query: Callable[[str], None] = lambda _: None
        self.run: Frame | None = None
        """dbt's threads are its own."""
        self.on_call: Callable[[Outcome, float], None] = lambda _, __: None
        self.error: Exception | None = None
        """The last that Trino's client raised: dbt keeps of it only the text."""

    @contextmanager
    def statement(self) -> Iterator[None]:
        """The time to its first rows, or to the end of one that has none."""
        started, outcome = time.perf_counter(), Outcome.OK
        try:
            with span("trino query", under=self.run):
                yield
        except DbtDatabaseError as error:
            outcome = Outcome.of(asgard_error(self.error or error))
            raise
        finally:
            self.on_call(outcome, time.perf_counter() - started)

    def backend(self) -> Backend:
        return Backend(
            macros=MACROS,
            output={
                "type": "trino",
                # Only what dbt wants to see: connections are made by `connect`.
                "method": "none",
                "host": "trino",
                "port": 8080,
                "user": "asgard",
                "database": "lake",
                "schema": "gold",
                "threads": 1,
            },
            database=self.trino.catalog,
            schema=self.trino.schema,
            error=self._explained,
            project={
                "query-comment": {
                    "comment": "{{ node.config.meta.get('mark', 'asgard') if node else 'asgard' }}"
                },
            },
        )

    def _explained(self, message: str) -> AsgardError:
        error, self.error = self.error, None
        if error is not None:
            return asgard_error(error)
        return EngineFailed(f"dbt failed: {message[:1000]}")

    def use(self) -> None:
        """From now on dbt's connections are this session's."""
        session = self

        class Connections(TrinoConnectionManager):
            @classmethod
            def open(cls, connection: Any) -> Any:
                if connection.state != "open":
                    tags, _ = cls.effective_routing(connection.credentials)
                    handle = session.trino.connect(tags or (), lambda id: session.on_query(id))
                    connection.handle = ConnectionWrapper(handle, True)  # type: ignore[no-untyped-call]
                    connection.state = "open"
                return connection

            def add_query(self, sql: str, *args: Any, **kwargs: Any) -> Any:
                """Whole: dbt-trino would cut it where sqlparse thinks that statements end."""
                with session.statement():
                    return SQLConnectionManager.add_query(self, sql, *args, **kwargs)

            @contextmanager
            def exception_handler(self, _: str) -> Iterator[None]:
                try:
                    yield
                except Exception as error:
                    session.error = error
                    raise DbtDatabaseError(str(error)) from error

        TrinoAdapter.ConnectionManager = Connections


def model_config(schema: str, name: str, run_id: str) -> dict[str, Any]:
    return {"schema": schema, "alias": name, "client_tags": [run_id]}


def model_meta(owner: str, run_id: str) -> dict[str, str]:
    return {"owner": owner, "mark": mark(run_id)}
