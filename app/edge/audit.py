"""Records changes, and refused attempts to make them, in the audit trail."""

import json
from typing import TYPE_CHECKING, cast

from starlette.types import Scope

from app.audit.record import LONGEST_PATH, AuditOutcome, AuditRecord, ids_in
from app.caller import Caller
from app.edge.authentication import UNKNOWN
from app.edge.response import Recorder

if TYPE_CHECKING:
    from app.context import ProcessContext

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_change(scope: Scope) -> bool:
    return scope["method"] not in SAFE_METHODS and scope["path"].startswith("/api/")


def audit_recorder(scope: Scope, caller: Caller, address: str, request_id: str) -> Recorder:
    async def record_change(status: int, body: bytes) -> None:
        # The route is only known here, after the router has matched it.
        extra = getattr(scope.get("route"), "openapi_extra", None) or {}
        context = cast("ProcessContext | None", getattr(scope["app"].state, "context", None))
        if context is None or extra.get("x-asgard-access") == "read":
            return
        record = AuditRecord(
            subject=caller.subject,
            method=scope["method"],
            path=scope["path"][:LONGEST_PATH],
            address=address,
            status=status,
            # Unauthenticated callers cannot fill the lake: their attempts are only counted.
            outcome=AuditOutcome.REFUSED if caller is UNKNOWN else AuditOutcome.of(status),
            request_id=request_id,
            **ids_in(_parsed(body), scope.get("path_params", {})),
        )
        if record.outcome is AuditOutcome.REFUSED:
            context.audit.refuse(record)
        else:
            await context.audit.keep(record)

    return record_change


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None
