"""The one idea of a run, shared by all engines."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from app.failure import Failure
from app.frozen import Frozen
from app.lakehouse.outputs import RunOutput, TableState


class RunKind(StrEnum):
    INGESTION = "ingestion"
    SPARK = "spark"
    DBT = "dbt"
    DATA_PRODUCT = "data_product"


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


class RunInput(TableState):
    """What a run read: an Iceberg table, or a bronze path (`table` is then `bronze/…`)."""

    run_ids: tuple[str, ...] = ()
    """The syncs whose files were read, when the input is a bronze path."""
    source: str | None = None
    """What an ingestion read: the source's name."""


class Run(Frozen):
    """A run as it is stored: in S3 while it is open, in `asgard.runs` when it has ended.

    `version` grows with every change (it is the event id); `epoch` with every change of owner.
    `spec` is the domain's own description of the work: enough to do it again after a restart.
    `engine` holds what the engine says of itself (versions, resource sizes, names).
    """

    run_id: str
    kind: RunKind
    target: str
    """What the run writes; one running run per target. `gold.t`, `silver.t`, `ingestion/{id}`."""
    subject_id: str | None = None
    """The record that this run belongs to: transformation, data product or ingestion."""
    state: RunState = RunState.QUEUED
    engine_state: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempt: int = 1
    request_id: str | None = None
    traceparent: str | None = None
    """The span that asked for it (W3C Trace Context), for whoever runs it."""
    idempotency_key: str | None = None
    fingerprint: str | None = None
    """Hash of target and work; an equal request joins the open run instead of a second one."""
    failure: Failure | None = None
    inputs: tuple[RunInput, ...] = ()
    output: RunOutput | None = None
    created_by: str
    joined_by: tuple[str, ...] = ()
    """Other callers that asked for the same work while it was open."""
    withdrawn_by: tuple[str, ...] = ()
    """Those of its callers that no longer want it. The run goes on for the others."""
    cancel_requested_at: datetime | None = None
    owner: str | None = None
    epoch: int = 0
    version: int = 1
    spec: dict[str, Any] = Field(default_factory=dict)
    engine: dict[str, Any] = Field(default_factory=dict)
    events: tuple["RunEvent", ...] = ()


class RunEvent(Frozen):
    """One thing that happened, in order; `id` is the run's version at that moment."""

    id: int
    at: datetime
    type: str = "Normal"
    """`Normal` or `Warning`, as Kubernetes has it."""
    reason: str
    message: str
