"""A SparkApplication as the operator reports it, `sparkoperator.k8s.io/v1beta2`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from app.data_transformation.states import SparkState

GROUP, VERSION, PLURAL = "sparkoperator.k8s.io", "v1beta2", "sparkapplications"
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "asgard"
RUN_ID_LABEL = "asgard.io/run-id"
SELECTOR = f"{MANAGED_BY}={MANAGER}"
ENDED = frozenset({SparkState.COMPLETED, SparkState.FAILED})
"""The operator moves on from SUBMISSION_FAILED, to another attempt or to FAILED."""
ATTEMPT_ENDED = frozenset({SparkState.SUCCEEDING, SparkState.FAILING, *ENDED})
BEFORE_RUNNING = frozenset(
    {
        None,
        SparkState.SUBMITTED,
        SparkState.SUBMISSION_FAILED,
        SparkState.PENDING_RERUN,
        SparkState.INVALIDATING,
        SparkState.UNKNOWN,
    }
)


def application_name(run_id: str) -> str:
    return f"sql-exec-{run_id}"


def driver_pod_name(run_id: str) -> str:
    """Returns the operator's own default. Requesting a name is an error in cluster mode."""
    return f"{application_name(run_id)}-driver"


@dataclass(frozen=True)
class Application:
    """An application. `state` is None until the operator has seen it."""

    name: str
    state: SparkState | None
    error: str | None
    driver_pod: str | None
    application_id: str | None
    submission_attempts: int
    execution_attempts: int
    executors: int | None

    @classmethod
    def of(cls, resource: Mapping[str, Any]) -> Self:
        status: Mapping[str, Any] = resource.get("status") or {}
        reported: Mapping[str, Any] = status.get("applicationState") or {}
        executors = status.get("executorState")
        return cls(
            name=resource["metadata"]["name"],
            state=_state(reported.get("state")),
            error=reported.get("errorMessage") or None,
            driver_pod=(status.get("driverInfo") or {}).get("podName") or None,
            application_id=status.get("sparkApplicationId") or None,
            submission_attempts=status.get("submissionAttempts") or 0,
            execution_attempts=status.get("executionAttempts") or 0,
            executors=None if executors is None else _running(executors),
        )

    @property
    def engine(self) -> dict[str, Any]:
        """The known fields for `Run.engine`. A restart does not erase earlier ones."""
        fields = {
            "driver_pod": self.driver_pod,
            "application_id": self.application_id,
            "submission_attempts": self.submission_attempts or None,
            "execution_attempts": self.execution_attempts or None,
            "executor_count": self.executors,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def reason(self) -> str:
        """The reason, in the form of the operator's own events: SparkApplicationPendingRerun."""
        return "SparkApplication" + (self.state or "").replace("_", " ").title().replace(" ", "")


def _state(name: str | None) -> SparkState | None:
    """Returns the state. Other versions of the operator may have other states."""
    if not name:
        return None
    return SparkState(name) if name in set(SparkState) else SparkState.UNKNOWN


def _running(executors: Mapping[str, str]) -> int:
    return sum(state == "RUNNING" for state in executors.values())
