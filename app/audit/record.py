"""One line of the audit: who asked for which change, when, from where, and what came of it."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

LONGEST_PATH = 500
RESOURCE_FIELDS = (
    "id",
    "transformation_id",
    "data_product_id",
    "connectionId",
    "ingestionId",
    "sourceId",
)


class AuditOutcome(StrEnum):
    DONE = "done"
    REFUSED = "refused"
    """Before anything was looked at: 401, 403, 429, and whatever a caller met who was not known."""
    FAILED = "failed"

    @classmethod
    def of(cls, status: int) -> "AuditOutcome":
        if status < 400:
            return cls.DONE
        return cls.REFUSED if status in {401, 403, 429} else cls.FAILED


class AuditRecord(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str = Field(default_factory=lambda: uuid4().hex)
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    subject: str
    method: str
    path: str
    address: str
    status: int
    outcome: AuditOutcome
    request_id: str | None
    run_id: str | None = None
    resource_id: str | None = None
    count: int = 1
    """How many refusals of a minute this one stands for; `path` is that of the first."""


def ids_in(answer: Any, path_params: dict[str, str]) -> dict[str, str]:
    """The run and the resource that an answer tells of; else the resource that the path names."""
    said: dict[str, Any] = answer if isinstance(answer, dict) else {}
    run = said.get("run")
    run_id = said.get("run_id") or (run.get("run_id") if isinstance(run, dict) else None)
    run_id = run_id or path_params.get("run_id")
    others = (value for name, value in path_params.items() if name != "run_id")
    named = (said[field] for field in RESOURCE_FIELDS if field in said)
    found = {"run_id": run_id, "resource_id": next(named, None) or next(others, None)}
    return {name: value for name, value in found.items() if isinstance(value, str)}
