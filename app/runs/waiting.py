"""Determines how long a request waits for its run, and the response if the run is still open."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request, Response

from app.http.dependencies import (
    CallerDep,
    IdempotencyDep,
    RequestIdDep,
    components,
    extend_deadline,
)
from app.runs.model import Run
from app.runs.submission import Submission


@dataclass(frozen=True)
class Wait:
    """How long to wait for a run, in seconds. `explicit` is true if the caller chose it."""

    seconds: float
    explicit: bool
    api_path: str
    """`/api/v1`"""

    @property
    def runs_path(self) -> str:
        return f"{self.api_path}/runs"


async def _wait(
    request: Request,
    wait_seconds: Annotated[
        float | None,
        Query(ge=0, le=300, description="How long to wait for the run, in seconds."),
    ] = None,
    prefer: Annotated[str | None, Header(description="`respond-async` returns at once.")] = None,
) -> Wait:
    wait = _requested_wait(request, wait_seconds, prefer or "")
    extend_deadline(request, wait.seconds)
    return wait


def _requested_wait(request: Request, wait_seconds: float | None, prefer: str) -> Wait:
    settings = components(request).settings
    api_path = f"/api/{settings.api_version}"
    if wait_seconds is not None:
        return Wait(wait_seconds, True, api_path)
    if _prefers_async(prefer):
        return Wait(0, True, api_path)
    return Wait(settings.wait_seconds, False, api_path)


def _prefers_async(prefer: str) -> bool:
    """RFC 7240 separates preferences by commas, and their parameters by semicolons."""
    names = (preference.split(";")[0].strip().lower() for preference in prefer.split(","))
    return "respond-async" in names


WaitDep = Annotated[Wait, Depends(_wait)]


async def _submission(
    caller: CallerDep, key: IdempotencyDep, request_id: RequestIdDep, wait: WaitDep
) -> Submission:
    return Submission(caller, key, request_id, wait.seconds)


async def _async_submission(
    caller: CallerDep, key: IdempotencyDep, request_id: RequestIdDep, wait: WaitDep
) -> Submission:
    return Submission(caller, key, request_id, wait.seconds if wait.explicit else 0)


SubmissionDep = Annotated[Submission, Depends(_submission)]
AsyncSubmissionDep = Annotated[Submission, Depends(_async_submission)]
"""A submission that waits for its run only if the caller asks for that."""


def accepted(response: Response, run: Run, wait: Wait) -> None:
    """Set 202 and `Location`, but only for a caller that chose how long to wait (see the
    contract)."""
    if wait.explicit and not run.state.is_terminal:
        response.status_code = 202
        response.headers["Location"] = f"{wait.runs_path}/{run.run_id}"
