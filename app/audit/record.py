"""A record of the audit: who requested which change, when, from where, and with what outcome."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

LONGEST_PATH = 500
LONGEST_ID = 100
"""Characters. A path may name anything as an id."""
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
    """Refused before the request was read: 401, 403, 429, and any response to an unknown caller."""
    FAILED = "failed"

    @classmethod
    def of(cls, status: int) -> "AuditOutcome":
        if status < 400:
            return cls.DONE
        return cls.REFUSED if status in {401, 403, 429} else cls.FAILED


class AuditRecord(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str = Field(default_factory=lambda: uuid4().hex, description="Id of the record.")
    at: datetime = Field(
        default_factory=lambda: datetime.now(UTC), description="Time of the request."
    )
    subject: str = Field(description="The caller.")
    method: str = Field(description="Method of the request.")
    path: str = Field(description="Path of the request.")
    address: str = Field(description="IP address of the caller.")
    status: int = Field(description="Status of the response.")
    outcome: AuditOutcome = Field(
        description="`done`, `failed`, or `refused` before the request was read (401, 403, 429)."
    )
    request_id: str | None = Field(description="`X-Request-Id` of the request.")
    run_id: str | None = Field(
        None, description="The run that the request started or changed, if any."
    )
    resource_id: str | None = Field(
        None, description="The resource that the request created or changed, if any."
    )
    count: int = Field(
        1,
        description="Number of refusals within a minute that this record counts. `path` is the "
        "first one's.",
    )


def ids_in(answer: Any, path_params: dict[str, str]) -> dict[str, str]:
    """Return the ids of the run and the resource in a response, or else those in the path."""
    fields: dict[str, Any] = answer if isinstance(answer, dict) else {}
    run = fields.get("run")
    run_id = fields.get("run_id") or (run.get("run_id") if isinstance(run, dict) else None)
    run_id = run_id or path_params.get("run_id")
    others = (value for name, value in path_params.items() if name != "run_id")
    candidates = (fields.get(field) for field in RESOURCE_FIELDS)
    # A run has its id in `id`, too.
    named = (item for item in candidates if item is not None and item != run_id)
    ids = {"run_id": run_id, "resource_id": next(named, None) or next(others, None)}
    return {name: value[:LONGEST_ID] for name, value in ids.items() if isinstance(value, str)}
