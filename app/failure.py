"""The causes of failed runs: a closed list, so that clients can act on it."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.shorten import LONGEST_DETAIL, LONGEST_HINT, shortened


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

    @property
    def is_callers(self) -> bool:
        """Whether only the caller can correct it, for example its SQL."""
        return self in {self.SQL_ERROR, self.TABLE_NOT_FOUND, self.CANCELLED}


def _detail(text: str) -> str:
    return shortened(text, LONGEST_DETAIL)


def _hint(text: str) -> str:
    return shortened(text, LONGEST_HINT)


class Failure(BaseModel):
    model_config = ConfigDict(frozen=True)

    cause: FailureCause = Field(description="Cause, from a closed list.")
    message: Annotated[str, AfterValidator(_detail)] = Field(
        description="What happened, in one or two sentences."
    )
    hint: Annotated[str, AfterValidator(_hint)] | None = Field(
        None, description="What to do about it."
    )
    retryable: bool = Field(False, description="Whether the same request may succeed later.")
