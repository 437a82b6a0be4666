"""`/audit`: who changed what. SQL engines find the same in the Iceberg table `asgard.audit`."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from app.audit.record import AuditOutcome, AuditRecord
from app.audit.trail import AuditTrail
from app.http.dependencies import component
from app.http.raw_body import BriefRoute
from app.runs.pages import decode_cursor, encode_cursor

router = APIRouter(prefix="/audit", tags=["audit"], route_class=BriefRoute)


class AuditPage(BaseModel):
    items: list[AuditRecord] = Field(
        description="The same list as `records`: every list has `items`."
    )
    records: list[AuditRecord] = Field(description="The records, newest first.")
    next_cursor: str | None = Field(description="Pass it as `cursor`; null on the last page.")
    total_count: int = Field(description="Number of matches on all pages.")


@router.get("")
async def list_audit_records(
    request: Request,
    subject: Annotated[
        str | None, Query(max_length=255, description="Only requests of this caller.")
    ] = None,
    outcome: Annotated[
        AuditOutcome | None, Query(description="Only requests with this outcome.")
    ] = None,
    run_id: Annotated[
        str | None, Query(max_length=100, description="Only requests about this run.")
    ] = None,
    resource_id: Annotated[
        str | None, Query(max_length=100, description="Only requests about this resource.")
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=500, description="`next_cursor` of the previous page.")
    ] = None,
    page_size: Annotated[
        int, Query(ge=1, le=100, description="Maximum number of records on a page.")
    ] = 20,
) -> AuditPage:
    """Lists the newest 20,000 records, newest first. Older ones are in the table `asgard.audit`.
    Records of other replicas appear within a few seconds."""
    filters = {
        "subject": subject,
        "outcome": outcome,
        "run_id": run_id,
        "resource_id": resource_id,
    }
    start = decode_cursor(cursor) if cursor is not None else None
    matching = [
        item
        for item in await component(request, AuditTrail).all()
        if all(value is None or getattr(item, name) == value for name, value in filters.items())
    ]
    matching.sort(key=_position, reverse=True)
    remaining = [item for item in matching if start is None or _position(item) < start]
    shown = remaining[:page_size]
    more = len(remaining) > page_size
    return AuditPage(
        items=shown,
        records=shown,
        next_cursor=encode_cursor(_position(shown[-1])) if more else None,
        total_count=len(matching),
    )


def _position(item: AuditRecord) -> tuple[datetime, str]:
    return item.at, item.id
