"""Counts the requests of a boto3 client through botocore's own events, so that none is missed."""

import time
from typing import Any

from app.telemetry.calls import Telemetry
from app.telemetry.outcomes import Outcome

STARTED = "asgard_started"
ABSENT = frozenset({304, 404})
LOST_RACE = frozenset({409, 412})
DENIED = frozenset({401, 403})


def watch(client: Any, telemetry: Telemetry) -> None:
    """Count requests and their bytes. A missing object, or one in another state than a conditional
    write expects, is an answer, not an error."""

    def before(context: dict[str, Any], **_: Any) -> None:
        context[STARTED] = time.perf_counter()

    def sending(request: Any, **_: Any) -> None:
        telemetry.s3_moved("written", _length(request.headers))

    def answered(http_response: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
        status = http_response.status_code
        outcome = Outcome.of_status(status)
        if status in ABSENT | LOST_RACE:
            outcome = Outcome.REFUSED
        elif outcome is not Outcome.OK:
            telemetry.s3_failed(model.name, _cause(status))
        if model.name != "HeadObject":
            telemetry.s3_moved("read", _length(http_response.headers))
        telemetry.called("s3", model.name, outcome, _since(context))

    def unanswered(event_name: str, context: dict[str, Any], **_: Any) -> None:
        operation = event_name.rpartition(".")[2]
        telemetry.s3_failed(operation, "unreachable")
        telemetry.called("s3", operation, Outcome.UNREACHABLE, _since(context))

    events = client.meta.events
    events.register("before-call.s3", before)
    events.register("before-send.s3", sending)
    events.register("after-call.s3", answered)
    events.register("after-call-error.s3", unanswered)


def _cause(status: int) -> str:
    if status in DENIED:
        return "denied"
    return "server" if status >= 500 or status == 429 else "refused"


def _since(context: dict[str, Any]) -> float:
    return time.perf_counter() - float(context.get(STARTED, time.perf_counter()))


def _length(headers: Any) -> int:
    value = headers.get("Content-Length")
    text = value.decode() if isinstance(value, bytes) else str(value or "")
    return int(text) if text.isdigit() else 0
