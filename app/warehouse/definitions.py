"""Definitions of tables: what transformations and data products have in common."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from app.caller import Caller
from app.errors import Conflict, NotFound, VersionMismatch
from app.failure import FailureCause
from app.frozen import Frozen
from app.lakehouse.records.state import Record
from app.lakehouse.records.table import RecordTable
from app.names import Named
from app.runs.model import Run
from app.warehouse.engine import ModelSpec


class Definition(Frozen, ABC):
    name: str
    deleting: bool = False
    """Whether a deletion has begun that drops the table first."""

    @property
    @abstractmethod
    def table(self) -> str:
        """Return `schema.table`."""


@dataclass(frozen=True, slots=True)
class DefinedModel:
    """A model of the dbt project. Its `spec` takes much memory, so it is made where it is needed,
    and changes only with `version`."""

    name: str
    sql: str
    is_view: bool
    version: Hashable
    spec: Callable[[], ModelSpec] = field(compare=False)


D = TypeVar("D", bound=Definition)
TABLE, NAME = "table", "name"
DEFINITION_KEYS: Mapping[str, Callable[[Definition], str]] = {
    TABLE: lambda doc: doc.table,
    NAME: lambda doc: doc.name,
}
"""The indexes of definitions."""


async def named(records: RecordTable[D], name: str) -> list[Named]:
    return [(record.id, record.doc.name) for record in await records.with_key(NAME, name)]


def refuse_deleting(doc: Definition) -> None:
    if doc.deleting:
        raise Conflict(
            f"{doc.table} is being deleted.",
            hint="If the deletion failed, read the record again and repeat the DELETE request.",
        )


def require_definition(run: Run, record: Record[D] | None) -> None:
    """Raise `NotFound` unless the run's definition still names the run's table: the definition may
    have been deleted or renamed since the run was accepted."""
    doc = record.doc if record else None
    if doc is None or doc.deleting or doc.table != run.target:
        raise NotFound(
            f"The definition of {run.target} was deleted or renamed before the run began.",
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
    """Drop the table, then delete the record. If the deletion stops halfway, it can be repeated.
    Without its record, a table would have no owner.

    No run may build the table again in between. A run that begins after the mark fails
    (`require_definition`). `refuse_running` finds one that began before it, and raises
    `Conflict`."""
    await refuse_running()
    was_marked = False

    def mark(doc: D) -> D:
        nonlocal was_marked
        was_marked = doc.deleting
        return doc.model_copy(update={"deleting": True})

    marked = await records.update(record_id, mark, caller, expected_version)
    try:
        await refuse_running()
    except Conflict:
        if not was_marked:
            # Another deletion may have come in between. It then unmarks the record or deletes it.
            with suppress(VersionMismatch, NotFound):
                await records.update(record_id, _unmark, caller, marked.version)
        raise
    await drop(marked.doc.table)
    with suppress(NotFound):  # by another deletion at the same time
        await records.delete(record_id, caller)


def _unmark(doc: D) -> D:
    return doc.model_copy(update={"deleting": False})
