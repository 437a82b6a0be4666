"""`/runs`: the runs of all engines."""

import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from app.caller import Caller
from app.errors import InvalidBody
from app.http.dependencies import CallerDep, component
from app.http.lists import listed
from app.http.raw_body import BriefRoute
from app.runs.model import RunKind, RunState
from app.runs.reader import RunEnd
from app.runs.service import RunService
from app.runs.views import RunEvents, RunList, RunLogs, RunView

if TYPE_CHECKING:
    from sse_starlette import ServerSentEvent


router = APIRouter(prefix="/runs", tags=["runs"], route_class=BriefRoute)

EVENT_ID = re.compile(r"^\d{1,12}$")
CANCEL_SHOWN_WITHIN = 2.0
"""Seconds that a cancel request waits, so that its response shows a run that ends at once."""
PING = 15


def service(request: Request) -> RunService:
    return component(request, RunService)


RunsDep = Annotated[RunService, Depends(service)]
RunId = Annotated[str, Path(description="Id of the run.")]


@router.get("", response_model=RunList)
async def list_runs(
    runs: RunsDep,
    caller: CallerDep,
    kind: Annotated[RunKind | None, Query(description="Only runs of this kind.")] = None,
    state: Annotated[RunState | None, Query(description="Only runs in this state.")] = None,
    target: Annotated[
        str | None,
        Query(max_length=500, description="Only runs with this target, for example `gold.t`."),
    ] = None,
    subject_id: Annotated[
        str | None,
        Query(
            max_length=100, description="Only runs of this transformation, product or ingestion."
        ),
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=500, description="`next_cursor` of the previous page.")
    ] = None,
    page: Annotated[
        int | None,
        Query(ge=1, le=1_000_000, description="Number of the page, instead of `cursor`."),
    ] = None,
    page_size: Annotated[
        int, Query(ge=1, le=100, description="Maximum number of runs on a page.")
    ] = 20,
) -> Response:
    """Lists runs, newest first. Pass `page`, or the `cursor` of the previous page: page numbers
    shift when new runs start, a cursor does not."""
    if page is not None and cursor is not None:
        raise InvalidBody("query.page: pass either page or cursor, not both")
    run_page = await runs.list(
        kind=kind,
        state=state,
        target=target,
        subject_id=subject_id,
        cursor=cursor,
        limit=page_size,
        page=page or 1,
    )
    return await listed(RunList.of, run_page, caller)


@router.get("/{run_id}")
async def get_run(run_id: RunId, runs: RunsDep, caller: CallerDep) -> RunView:
    """Returns a run: its state, inputs, output, and why it failed."""
    return RunView.of(await runs.get(run_id), caller)


@router.post("/{run_id}/cancel")
async def cancel_run(run_id: RunId, runs: RunsDep, caller: CallerDep) -> RunView:
    """Requests cancellation. If the run finishes first, its result stands. A run that other callers
    also requested continues for them: the caller is then in `withdrawn_by`, and `state` is
    unchanged. `runs:admin` and the creator of the run's ingestion or data product end it at
    once."""
    run = await runs.cancel(run_id, caller)
    if run.cancel_requested_at is None:
        return RunView.of(run, caller)
    return RunView.of(await runs.wait(run_id, CANCEL_SHOWN_WITHIN), caller)


@router.get("/{run_id}/logs")
async def get_run_logs(
    run_id: RunId,
    runs: RunsDep,
    _: CallerDep,
    tail_lines: Annotated[
        int | None, Query(ge=0, le=1_000_000, description="Only the last lines of the log.")
    ] = None,
) -> RunLogs:
    """Returns the log of a run. The log is kept after the run ends."""
    return RunLogs(run_id=run_id, logs=await runs.logs(run_id, tail_lines))


@router.get(
    "/{run_id}/events",
    response_model=RunEvents,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {
            "description": "The run has ended and the client has all its events. Do not reconnect."
        },
    },
)
async def list_run_events(
    run_id: RunId,
    runs: RunsDep,
    caller: CallerDep,
    accept: Annotated[
        str, Header(description="`text/event-stream` streams the events as they happen.")
    ] = "",
    last_event_id: Annotated[
        str | None, Header(max_length=100, description="Id of the last event that the client has.")
    ] = None,
) -> RunEvents | Response:
    """Returns the run's events as JSON. With `Accept: text/event-stream`, streams them as they
    happen, after `Last-Event-ID`."""
    run = await runs.get(run_id)
    if "text/event-stream" not in accept.lower():
        return RunEvents(run_id=run_id, state=run.state, events=list(run.events))
    # An unknown id restarts the stream from the beginning, as the standard's clients expect.
    after = int(last_event_id) if last_event_id and EVENT_ID.match(last_event_id) else 0
    if run.state.is_terminal and after >= run.version:
        return Response(status_code=204)
    from sse_starlette import EventSourceResponse

    return EventSourceResponse(_stream(runs, run_id, after, caller), ping=PING)


async def _stream(
    runs: RunService, run_id: str, after: int, caller: Caller
) -> "AsyncIterator[ServerSentEvent]":
    from sse_starlette import ServerSentEvent

    async for event in runs.events(run_id, after):
        if isinstance(event, RunEnd):
            view = RunView.of(event.run, caller).model_dump_json()
            yield ServerSentEvent(view, event="end", id=str(event.run.version))
        else:
            yield ServerSentEvent(event.model_dump_json(), event="run", id=str(event.id))
