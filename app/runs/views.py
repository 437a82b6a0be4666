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
    run_id: str
    kind: RunKind
    target: str = Field(description="What the run writes: `gold.t`, `silver.t`, `ingestion/{id}`.")
    subject_id: str | None = Field(
        description="The transformation, data product or ingestion that the run belongs to."
    )
    state: RunState
    engine_state: str | None = Field(
        description="The engine's own state. Null for dbt, which has none."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    request_id: str | None
    idempotency_key: str | None = Field(
        description="Only for the caller that sent it, and for `runs:admin`; otherwise null."
    )
    failure: Failure | None
    inputs: Sequence[RunInput]
    output: RunOutput | None
    engine: dict[str, Any] = Field(description="Details that the engine reports.")
    created_by: str
    joined_by: Sequence[str] = Field(
        description="Other callers that requested the same work and joined the run."
    )
    withdrawn_by: Sequence[str] = Field(
        description="Callers that started or joined the run and then cancelled it while others "
        "still wanted it. The run continues for the others."
    )
    cancel_requested_at: datetime | None
    version: int = Field(description="Increases with every change. Event ids are versions.")

    @classmethod
    def of(cls, run: Run, caller: Caller) -> "RunView":
        """Return the run as `caller` may see it."""
        fields = {name: getattr(run, name) for name in cls.model_fields}
        if not (caller.may(RUNS_ADMIN) or is_same_caller(run.created_by, caller.subject)):
            fields["idempotency_key"] = None
        return cls.model_construct(**fields)


class RunList(BaseModel):
    runs: list[RunView]
    next_cursor: str | None = Field(description="Pass it as `cursor`; null on the last page.")
    total_count: int

    @classmethod
    def of(cls, page: RunPage, caller: Caller) -> "RunList":
        return cls(
            runs=[RunView.of(run, caller) for run in page.runs],
            next_cursor=page.next_cursor,
            total_count=page.total_count,
        )


class RunLogs(BaseModel):
    run_id: str
    logs: str


class RunEvents(BaseModel):
    run_id: str
    state: RunState
    events: list[RunEvent]
