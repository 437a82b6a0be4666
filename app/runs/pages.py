"""Lists of runs, newest first, with an opaque cursor that stays valid while runs start and end."""

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from app.errors import InvalidRequest
from app.runs.history import EndedRun
from app.runs.model import Run

Position = tuple[datetime, str]


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


@dataclass(frozen=True)
class RunPage:
    runs: tuple[Run, ...]
    next_cursor: str | None
    total_count: int


def position(run: AnyRun) -> Position:
    return run.created_at, run.run_id


def page_of(runs: Iterable[AnyRun], cursor: str | None, limit: int, page: int = 1) -> RunPage:
    """Return one page. `page` counts from the cursor, or from the newest run. Raises
    `InvalidRequest` for a cursor that does not come from a page."""
    start = decode_cursor(cursor) if cursor is not None else None
    ordered = sorted(runs, key=position, reverse=True)
    remaining = [run for run in ordered if start is None or position(run) < start]
    shown = remaining[(page - 1) * limit : page * limit]
    more = len(remaining) > page * limit
    return RunPage(
        runs=tuple(run.read() if isinstance(run, EndedRun) else run for run in shown),
        next_cursor=encode_cursor(position(shown[-1])) if more and shown else None,
        total_count=len(ordered),
    )


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
