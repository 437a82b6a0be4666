"""Requests for runs."""

from dataclasses import dataclass, field
from typing import Any

from app.caller import Caller
from app.runs.model import Run, RunInput, RunKind


@dataclass(frozen=True)
class RunRequest:
    """A request for a run. With an equal `fingerprint` it joins the last open run of the target,
    unless it has an idempotency key."""

    kind: RunKind
    target: str
    spec: dict[str, Any]
    caller: Caller
    request_id: str | None = None
    subject_id: str | None = None
    fingerprint: str | None = None
    run_id: str | None = None
    idempotency_key: str | None = None
    inputs: tuple[RunInput, ...] = ()
    engine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    run: Run
    joined: bool
