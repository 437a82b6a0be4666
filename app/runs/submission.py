"""Requests for runs: what is to be done, and who asks for it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from app.caller import Caller
from app.idempotency import Claim, IdempotencyKey
from app.runs.model import Run, RunInput, RunKind

Prepare = Callable[[], Awaitable[None]]
"""Records what a run needs, once the run is admitted: a run that is refused changes nothing."""


async def nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class RunRequest:
    """The work of a run. With an equal `fingerprint` it joins the last open run of the target,
    unless the submission has an idempotency key."""

    kind: RunKind
    target: str
    spec: dict[str, Any]
    subject_id: str | None = None
    fingerprint: str | None = None
    inputs: tuple[RunInput, ...] = ()
    engine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Submission:
    """Holds what a client's request for a run contains in addition to the work."""

    caller: Caller
    key: IdempotencyKey | None = None
    request_id: str | None = None
    wait_seconds: float = 0


@dataclass(frozen=True)
class ClaimedSubmission:
    """A submission that has claimed its idempotency key. `earlier` is the run that an earlier
    request with this key started, if there is one."""

    submission: Submission
    claim: Claim
    earlier: Run | None


@dataclass(frozen=True)
class Started:
    run: Run
    joined: bool
