"""Definitions of tables: what transformations and data products have in common."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.caller import Caller
from app.errors import Conflict, NotFound
from app.failure import FailureCause
from app.frozen import Frozen
from app.lakehouse.records.state import Record
from app.lakehouse.records.table import RecordTable
from app.runs.model import Run


class Definition(Frozen, ABC):
    deleting: bool = False
    """Whether a deletion has begun that drops the table first."""

    @property
    @abstractmethod
    def table(self) -> str:
        """Return `schema.table`."""


D = TypeVar("D", bound=Definition)


def refuse_deleting(doc: Definition) -> None:
    if doc.deleting:
        raise Conflict(
            f"{doc.table} is being deleted.",
            hint="If the deletion failed, send the DELETE request again.",
        )


def require_definition(run: Run, record: Record[D] | None) -> None:
    """Raise `NotFound` unless the run's definition still names the run's table: the definition may
    have been deleted or renamed since the run was accepted."""
    doc = record.doc if record else None
    if doc is None or doc.deleting or doc.table != run.target:
        raise NotFound(
            f"What builds {run.target} was deleted or renamed before the run began.",
            cause=FailureCause.CANCELLED,
        )


async def delete_with_table(
    records: RecordTable[D],
    record_id: str,
    caller: Caller,
    expected_version: int | None,
    *,
    refuse_running: Callable[[], Awaitable[None]],
    drop: Callable[[str], Awaitable[object]],
) -> None:
    """Drop the table, then delete the record: one whose table is gone can be deleted again, but a
    table whose record is gone has no owner.

    No run may build the table again in between. A run that begins after the mark fails
    (`require_definition`). `refuse_running` finds one that began before it, and raises
    `Conflict`."""
    await refuse_running()
    marked = await records.update(record_id, _mark(True), caller, expected_version)
    try:
        await refuse_running()
    except Conflict:
        await records.update(record_id, _mark(False), caller, marked.version)
        raise
    await drop(marked.doc.table)
    await records.delete(record_id, caller, marked.version)


def _mark(deleting: bool) -> Callable[[D], D]:
    return lambda doc: doc.model_copy(update={"deleting": deleting})
