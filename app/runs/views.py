"""Response bodies of runs. The run's owner, epoch, spec and fingerprint are not part of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.caller import RUNS_ADMIN, Caller, is_same_caller
from app.failure import Failure
from app.lakehouse.outputs import RunOutput
from app.runs.model import Run, RunEvent, RunInput, RunKind, RunState
from app.runs.pages import RunPage


class RunView(BaseModel):
    id: str = Field(description="Id of the run.")
    run_id: str = Field(description="Id of the run.")
    kind: RunKind = Field(description="Kind of work.")
    target: str = Field(description="What the run writes: `gold.t`, `silver.t`, `ingestion/{id}`.")
    subject_id: str | None = Field(
        description="The transformation, data product or ingestion that the run belongs to."
    )
    state: RunState = Field(description="State of the run. Only `queued` and `running` change.")
    engine_state: str | None = Field(
        description="The engine's own state. Null for dbt, which has none."
    )
    created_at: datetime = Field(description="When the run was recorded.")
    started_at: datetime | None = Field(description="When the engine started the work.")
    finished_at: datetime | None = Field(description="When the run ended.")
    attempt: int = Field(description="Number of the attempt, from 1.")
    request_id: str | None = Field(
        description="`X-Request-Id` of the request that started the run."
    )
    idempotency_key: str | None = Field(
        description="Only for the caller that sent it, and for `runs:admin`; otherwise null."
    )
    failure: Failure | None = Field(
        description="Why the run failed or was cancelled, otherwise null."
    )
    inputs: Sequence[RunInput] = Field(
        description="The tables and bronze paths that the run read, at the state in which it read "
        "them. `snapshot_id` is null if the table may have changed while the run read it."
    )
    output: RunOutput | None = Field(description="What the run wrote. Null until it succeeds.")
    engine: dict[str, Any] = Field(description="Details that the engine reports.")
    created_by: str = Field(description="The caller that started the run.")
    joined_by: Sequence[str] = Field(
        description="Other callers that requested the same work and joined the run."
    )
    withdrawn_by: Sequence[str] = Field(
        description="Callers that started or joined the run and then cancelled it while others "
        "still wanted it. The run continues for the others."
    )
    cancel_requested_at: datetime | None = Field(description="When its cancellation was requested.")
    version: int = Field(description="Increases with every change. Event ids are versions.")

    @classmethod
    def of(cls, run: Run, caller: Caller) -> "RunView":
        """Return the run as `caller` may see it."""
        fields = {name: getattr(run, name) for name in cls.model_fields if name != "id"}
        if not (caller.may(RUNS_ADMIN) or is_same_caller(run.created_by, caller.subject)):
            fields["idempotency_key"] = None
        return cls.model_construct(id=run.run_id, **fields)


class RunList(BaseModel):
    items: list[RunView] = Field(description="The same list as `runs`: every list has `items`.")
    runs: list[RunView] = Field(description="The runs, newest first.")
    next_cursor: str | None = Field(description="Pass it as `cursor`; null on the last page.")
    total_count: int = Field(description="Number of matches on all pages.")

    @classmethod
    def of(cls, page: RunPage, caller: Caller) -> "RunList":
        views = [RunView.of(run, caller) for run in page.runs]
        return cls(
            items=views,
            runs=views,
            next_cursor=page.next_cursor,
            total_count=page.total_count,
        )


class RunLogs(BaseModel):
    run_id: str = Field(description="Id of the run.")
    logs: str = Field(description="The log, one line after another.")


class RunEvents(BaseModel):
    run_id: str = Field(description="Id of the run.")
    state: RunState = Field(description="State of the run.")
    events: list[RunEvent] = Field(description="The events, oldest first.")
