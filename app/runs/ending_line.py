"""The one line in the gateway's log about the end of a run."""

import logging
from typing import Any

import structlog

from app.runs.model import Run, RunState

log = structlog.get_logger(__name__)


def log_ended_run(run: Run) -> None:
    """Log a failed run as an error, or as a warning if only its caller can correct it."""
    fields: dict[str, Any] = {"kind": run.kind, "target": run.target, "state": run.state}
    if run.finished_at:
        began = run.started_at or run.created_at
        fields["seconds"] = round((run.finished_at - began).total_seconds(), 3)
    if run.failure:
        fields |= {"cause": run.failure.cause, "message": run.failure.message}
    log.log(_level(run), "run_ended", run_id=run.run_id, **fields)


def _level(run: Run) -> int:
    if run.state is not RunState.FAILED or run.failure is None:
        return logging.INFO
    return logging.WARNING if run.failure.cause.is_callers else logging.ERROR
