"""Lists of runs, newest first, with an opaque cursor that stays valid while runs start and end."""

import base64
import binascii
import heapq
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from app.errors import InvalidRequest
from app.runs.ended_runs import FIELDS, EndedRun, Position, position
from app.runs.model import Run

AnyRun = Run | EndedRun


@dataclass(frozen=True)
class RunFilter:
    kind: str | None = None
    state: str | None = None
    target: str | None = None
    subject_id: str | None = None
    condition: Callable[[AnyRun], bool] | None = None

    def matches(self, run: AnyRun) -> bool:
        return (
            (self.kind is None or run.kind == self.kind)
            and (self.state is None or run.state == self.state)
            and (self.target is None or run.target == self.target)
            and (self.subject_id is None or run.subject_id == self.subject_id)
            and (self.condition is None or self.condition(run))
        )

    def matching(self, runs: Sequence[EndedRun]) -> list[EndedRun]:
        return [run for run in runs if self.matches(run)]

    @property
    def fields(self) -> dict[str, str]:
        named = {name: getattr(self, name) for name in FIELDS}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def is_indexed(self) -> bool:
        """Return whether `EndedRuns.having` returns just the runs that match."""
        return self.condition is None and len(self.fields) <= 1


@dataclass(frozen=True)
class RunPage:
    runs: tuple[Run, ...]
    next_cursor: str | None
    total_count: int


@dataclass(frozen=True)
class FoundPage:
    """A page whose ended runs are not parsed yet."""

    runs: tuple[AnyRun, ...]
    next_cursor: str | None
    total_count: int

    def read(self) -> RunPage:
        runs = tuple(run.read() if isinstance(run, EndedRun) else run for run in self.runs)
        return RunPage(runs, self.next_cursor, self.total_count)


def page_of(
    runs: Collection[AnyRun],
    cursor: str | None,
    limit: int,
    page: int = 1,
    *,
    ended: Sequence[EndedRun] = (),
    hidden: Iterable[Run] = (),
) -> FoundPage:
    """Return one page of both, newest first. `ended` is in order, oldest first, and does not count
    the runs that are `hidden`. `page` counts from the cursor, or from the newest run. Raises
    `InvalidRequest` for a cursor that does not come from a page."""
    start = decode_cursor(cursor) if cursor is not None else None
    without = {run.run_id for run in hidden if _has(ended, run)}
    end = len(ended) if start is None else bisect_left(ended, start, key=position)
    older = (run for at in reversed(range(end)) if (run := ended[at]).run_id not in without)
    newest_first = sorted(runs, key=position, reverse=True)
    remaining = (run for run in newest_first if start is None or position(run) < start)
    merged = heapq.merge(remaining, older, key=position, reverse=True)
    found = tuple(islice(merged, (page - 1) * limit, page * limit + 1))
    shown = found[:limit]
    return FoundPage(
        runs=shown,
        next_cursor=encode_cursor(position(shown[-1])) if len(found) > limit and shown else None,
        total_count=len(runs) + len(ended) - len(without),
    )


def _has(ended: Sequence[EndedRun], run: Run) -> bool:
    at = bisect_left(ended, position(run), key=position)
    return at < len(ended) and ended[at].run_id == run.run_id


def encode_cursor(at: Position) -> str:
    text = f"{at[0].isoformat()}|{at[1]}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> Position:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        timestamp, separator, run_id = base64.b64decode(padded, b"-_", True).decode().partition("|")
        created_at = datetime.fromisoformat(timestamp)
    except (UnicodeError, binascii.Error, ValueError) as error:
        raise _unknown_cursor() from error
    if not separator or created_at.tzinfo is None:
        raise _unknown_cursor()
    return created_at, run_id


def _unknown_cursor() -> InvalidRequest:
    return InvalidRequest(
        "The cursor does not come from a list of runs.",
        hint="Pass next_cursor of the previous page unchanged, or omit cursor.",
    )
