"""Decides what Trino runs for dbt: the one statement of its build, once, and nothing else.

The worker that runs dbt is not trusted: text from a caller or from data may have become code there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from app.errors import AsgardError, EngineFailed
from app.failure import FailureCause

if TYPE_CHECKING:
    from app.warehouse.trino.client import QueryResult

SHOWN = 500
"""Characters of a refused statement in the run's log."""
EXAMINED = 4 * SHOWN
"""Characters of it, white space included, that are examined: the worker chooses its length."""


def table_statement(table: str, sql: str) -> str:
    """Return the text that `worker.sql` renders for a table. `table` is quoted."""
    return f"create or replace table {table} as\n{sql.strip()}"


def validation(sql: str) -> str:
    """Return the text that `worker.sql` renders for a view."""
    return f"explain (type validate)\n{sql.strip()}"


class StatementRefused(Exception):
    """The worker sent another statement. This ends the worker, since it may run foreign code."""

    def __init__(self, after_build: bool) -> None:
        note = " The statement of this build had already finished." if after_build else ""
        self.error = EngineFailed(
            f"dbt sent a statement other than the one of this build. Asgard refused it.{note}",
            cause=FailureCause.PERMISSION_DENIED,
            hint="The run's log shows the statement. Look for templates (`{{`, `{%`) in the names "
            "and texts that the model reads.",
        )
        super().__init__(self.error.detail)


class Publisher:
    def __init__(
        self,
        approved: str,
        execute: Callable[[str], Awaitable[QueryResult]],
        log: Callable[[str], None],
    ) -> None:
        self._approved = approved
        self._execute = execute
        self._log = log
        self._begun = False
        self._answer: QueryResult | None = None
        self._error: AsgardError | None = None

    @property
    def left_open(self) -> bool:
        """Whether the statement was started and its outcome is unknown."""
        return self._begun and not self._answer and not self._error

    async def on_ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Run the approved statement: the gateway's own text, never the worker's."""
        statement = question.get("statement")
        if self._begun or statement != self._approved:
            text = statement if isinstance(statement, str) else ""
            shown = " ".join(text[:EXAMINED].split())[:SHOWN]
            self._log(f"Refused a statement from dbt other than the one of this build: {shown}")
            raise StatementRefused(self._answer is not None)
        self._begun = True
        try:
            answer = self._answer = await self._execute(self._approved)
        except AsgardError as error:
            self._error = error
            raise
        return {
            "query_id": answer.query_id,
            "update_type": answer.update_type,
            "changed": answer.changed,
        }

    def conclude(self, dbt_error: AsgardError | None) -> None:
        """Raise the statement's error, if any. Only its outcome counts, not dbt's error."""
        if self._error:
            raise self._error
        if self._answer is None:
            raise dbt_error or EngineFailed(
                "dbt ended without running the statement of this build."
            )
        if dbt_error:
            self._log(f"dbt failed after its statement had finished: {dbt_error.detail}")
