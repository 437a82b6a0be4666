"""Decides who may cancel a run, and what that does. Any caller may join a run by requesting the
same work, so a caller of a run can withdraw only itself. The last one to withdraw ends the run."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

from app.caller import RUNS_ADMIN, Caller, is_same_caller
from app.errors import MissingScope, NotFound
from app.runs.model import Run, RunKind

MOST_JOINED = 50
"""Callers that a run remembers in addition to the one that started it. Later callers join it too,
but may not cancel it, and the run may end before they withdraw."""
FindOwner = Callable[[str], Awaitable[str | None]]
"""Return the caller that created the record with this id, or None."""


class Cancellers:
    def __init__(self, owners: Mapping[RunKind, FindOwner]) -> None:
        """`owners` has the kinds whose runs belong to a record that a caller created."""
        self._owners = owners

    async def ends_at_once(self, run: Run, caller: Caller) -> bool:
        """Return whether the caller's cancel ends the run, even if others requested it. Raises
        `MissingScope`, or what the lookup of the record's owner raises."""
        if caller.may(RUNS_ADMIN):
            return True
        participates = is_participant(run, caller.subject)
        if participates and not other_callers(run, caller.subject):
            # Its cancel ends the run anyway, unless another caller joins first.
            return False
        owner = await self._owner(run)
        if owner is not None and is_same_caller(owner, caller.subject):
            return True
        if participates:
            return False
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


def is_participant(run: Run, subject: str) -> bool:
    """Return whether the caller started or joined the run, even if it has withdrawn since."""
    return _includes((run.created_by, *run.joined_by), subject)


def has_withdrawn(run: Run, subject: str) -> bool:
    return _includes(run.withdrawn_by, subject)


def remaining_callers(run: Run) -> tuple[str, ...]:
    """Return the callers that still want the run, the earliest first."""
    participants = (run.created_by, *run.joined_by)
    return tuple(subject for subject in participants if not has_withdrawn(run, subject))


def other_callers(run: Run, subject: str) -> tuple[str, ...]:
    return tuple(other for other in remaining_callers(run) if not is_same_caller(other, subject))


def counts_for(run: Run) -> str:
    """Return the caller whose share of open runs (MAX_RUNS_PER_CALLER) the run belongs to."""
    return next(iter(remaining_callers(run)), run.created_by)


def remembers(run: Run, subject: str) -> bool:
    """Return whether the run needs no further record of this caller."""
    if is_participant(run, subject):
        return not has_withdrawn(run, subject)
    return len(run.joined_by) >= MOST_JOINED


def with_joined(run: Run, subject: str) -> Run:
    if not is_participant(run, subject):
        return run.model_copy(update={"joined_by": (*run.joined_by, subject)})
    remaining = tuple(other for other in run.withdrawn_by if not is_same_caller(other, subject))
    return run.model_copy(update={"withdrawn_by": remaining})


def with_withdrawn(run: Run, subject: str) -> Run:
    return run.model_copy(update={"withdrawn_by": (*run.withdrawn_by, subject)})


def continues_for(run: Run, subject: str) -> str:
    """Return a sentence with the number of other callers that the run continues for."""
    count = len(other_callers(run, subject))
    return f"The run continues for {count} other caller{'s' * (count != 1)}."


def _includes(subjects: Iterable[str], subject: str) -> bool:
    return any(is_same_caller(other, subject) for other in subjects)
