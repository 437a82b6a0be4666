"""Why a run failed: a closed list, so that clients can act on it."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class FailureCause(StrEnum):
    SQL_ERROR = "sql_error"
    TABLE_NOT_FOUND = "table_not_found"
    PERMISSION_DENIED = "permission_denied"
    OUT_OF_MEMORY = "out_of_memory"
    IMAGE_PULL = "image_pull"
    UNSCHEDULABLE = "unschedulable"
    ENGINE_UNREACHABLE = "engine_unreachable"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    LOST = "lost"
    INTERNAL = "internal"


class Failure(BaseModel):
    model_config = ConfigDict(frozen=True)

    cause: FailureCause
    message: str
    hint: str | None = None
    retryable: bool = False
