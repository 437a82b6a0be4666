"""The model of a run, shared by all engines."""

from datetime import datetime
from enum import Enum, StrEnum
from typing import Any, assert_never

from pydantic import Field

from app.failure import Failure
from app.frozen import Frozen
from app.lakehouse.outputs import RunOutput, TableState


class RunKind(StrEnum):
    INGESTION = "ingestion"
    SPARK = "spark"
    DBT = "dbt"
    DATA_PRODUCT = "data_product"


class RunPhase(Enum):
    """What the supervisor has to know of a state."""

    WAITING = "waiting"
    EXECUTING = "executing"
    ENDED = "ended"


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_waiting(self) -> bool:
        """Whether the run has not begun, so that any replica may begin it."""
        return self._phase is RunPhase.WAITING

    @property
    def is_executing(self) -> bool:
        """Whether an engine may be working for the run, and writing."""
        return self._phase is RunPhase.EXECUTING

    @property
    def is_terminal(self) -> bool:
        return self._phase is RunPhase.ENDED

    @property
    def _phase(self) -> RunPhase:
        match self:
            case RunState.QUEUED:
                return RunPhase.WAITING
            case RunState.RUNNING:
                return RunPhase.EXECUTING
            case RunState.SUCCEEDED | RunState.FAILED | RunState.CANCELLED:
                return RunPhase.ENDED
            case unknown:
                assert_never(unknown)


class RunInput(TableState):
    """An input of a run: an Iceberg table, or a bronze path (`table` is then `bronze/…`)."""

    run_ids: tuple[str, ...] = Field(
        (), description="The syncs whose files were read, when the input is a bronze path."
    )
    source: str | None = Field(None, description="Name of the source, if the run is an ingestion.")


class Run(Frozen):
    """A run as it is stored: in S3 while it is open, in `asgard.runs` when it has ended.

    `version` grows with every change (it is the event id), `epoch` with every change of owner.
    `spec` is the domain's own description of the work: enough to do it again after a restart.
    `engine` holds details that the engine reports (versions, resource sizes, names).
    """

    run_id: str
    kind: RunKind
    target: str
    """Name of what the run writes: `gold.t`, `silver.t`, `ingestion/{id}`. Only one run per target
    runs at a time."""
    subject_id: str | None = None
    """Id of the record that this run belongs to: transformation, data product or ingestion."""
    state: RunState = RunState.QUEUED
    engine_state: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempt: int = 1
    request_id: str | None = None
    traceparent: str | None = None
    """The span that requested the run (W3C Trace Context), for the process that executes it."""
    idempotency_key: str | None = None
    fingerprint: str | None = None
    """Hash of target and work. An equal request joins the open run instead of starting another."""
    failure: Failure | None = None
    inputs: tuple[RunInput, ...] = ()
    output: RunOutput | None = None
    created_by: str
    joined_by: tuple[str, ...] = ()
    """Other callers that requested the same work while the run was open."""
    withdrawn_by: tuple[str, ...] = ()
    """Callers that no longer want the run. It continues for the others."""
    cancel_requested_at: datetime | None = None
    owner: str | None = None
    epoch: int = 0
    version: int = 1
    spec: dict[str, Any] = Field(default_factory=dict)
    engine: dict[str, Any] = Field(default_factory=dict)
    events: tuple["RunEvent", ...] = ()


class RunEvent(Frozen):
    """An event of a run, in order. `id` is the run's version at that moment."""

    id: int = Field(description="The run's version at that moment.")
    at: datetime = Field(description="Time of the event.")
    type: str = Field("Normal", description="`Normal` or `Warning`, as in Kubernetes.")
    reason: str = Field(description="What happened, as one word.")
    message: str = Field(description="What happened, as a sentence.")
