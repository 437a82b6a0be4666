"""Decides who may cancel a run: its callers, and the creator of the record it belongs to."""

from collections.abc import Awaitable, Callable, Mapping

from app.caller import RUNS_ADMIN, Caller, is_same_caller
from app.errors import MissingScope, NotFound
from app.runs.model import Run, RunKind

MOST_JOINED = 50
"""Callers that a run remembers in addition to the one that started it. Later callers join it too,
but may not cancel it."""
FindOwner = Callable[[str], Awaitable[str | None]]
"""Returns the caller that created the record with this id, or None."""


class Cancellers:
    def __init__(self, owners: Mapping[RunKind, FindOwner]) -> None:
        """`owners` has the kinds whose runs belong to a record that a caller created."""
        self._owners = owners

    async def require(self, run: Run, caller: Caller) -> None:
        """Raises `MissingScope`, or what the lookup of the record's owner raises."""
        if caller.may(RUNS_ADMIN) or is_asker(run, caller.subject):
            return
        owner = await self._owner(run)
        if owner is not None and is_same_caller(owner, caller.subject):
            return
        raise MissingScope(
            f"You may not cancel this run: {run.created_by} started it. Only callers that started "
            "or joined a run, or created its ingestion or data product, may cancel it.",
            hint=f"Ask one of them, or use a key or token with the scope {RUNS_ADMIN}.",
            missing=RUNS_ADMIN,
        )

    async def _owner(self, run: Run) -> str | None:
        find = self._owners.get(run.kind)
        if find is None or run.subject_id is None:
            return None
        try:
            return await find(run.subject_id)
        except NotFound:
            return None


def is_asker(run: Run, subject: str) -> bool:
    return any(is_same_caller(known, subject) for known in (run.created_by, *run.joined_by))


def remembers(run: Run, subject: str) -> bool:
    """Whether the run needs no further note of this caller."""
    return is_asker(run, subject) or len(run.joined_by) >= MOST_JOINED


def with_joined(run: Run, subject: str) -> Run:
    return run.model_copy(update={"joined_by": (*run.joined_by, subject)})
