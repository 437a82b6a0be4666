"""What routers share: the caller, waiting, idempotency keys, pages and their headers."""

import hashlib
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast
from urllib.parse import urlencode

from fastapi import Depends, Header, Query, Request, Response

from app.auth.access import READS as READS
from app.auth.access import CallerDep as CallerDep
from app.errors import InvalidRequest
from app.idempotency import Claim, IdempotencyKey
from app.runs.model import Run

if TYPE_CHECKING:
    from app.context import ProcessContext

REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
SOURCE_ANSWERS_WITHIN = 6
"""Times AIRBYTE_TIMEOUT."""
WAIT = "wait_seconds"
IDEMPOTENCY_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")

request_id_of_task: ContextVar[str | None] = ContextVar("request_id", default=None)


@dataclass(frozen=True)
class Wait:
    """How long to wait for a run, in seconds; `explicit` when the caller asked for it."""

    seconds: float
    explicit: bool
    api_path: str
    """`/api/v1`"""

    @property
    def runs_path(self) -> str:
        return f"{self.api_path}/runs"


@dataclass(frozen=True)
class Page:
    page: int
    page_size: int

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.page_size


def context(request: Request) -> "ProcessContext":
    return cast("ProcessContext", request.app.state.context)


async def _request_id() -> str | None:
    return request_id_of_task.get()


async def _page(
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page:
    return Page(page, page_size)


async def _wait(
    request: Request,
    wait_seconds: Annotated[
        float | None,
        Query(ge=0, le=300, description="How long to wait for the run, in seconds."),
    ] = None,
    prefer: Annotated[str | None, Header(description="`respond-async` answers at once.")] = None,
) -> Wait:
    wait = _asked_wait(request, wait_seconds, prefer or "")
    extend_deadline(request, wait.seconds)
    return wait


def extend_deadline(request: Request, seconds: float) -> None:
    """Lets the handler of this request take that much longer than REQUEST_TIMEOUT."""
    extend: Callable[[float], None] | None = getattr(request.state, "extend_deadline", None)
    if extend is not None:
        extend(seconds)


def _asked_wait(request: Request, wait_seconds: float | None, prefer: str) -> Wait:
    settings = context(request).settings
    api_path = f"/api/{settings.api_version}"
    if wait_seconds is not None:
        return Wait(wait_seconds, True, api_path)
    if _prefers_async(prefer):
        return Wait(0, True, api_path)
    return Wait(settings.wait_seconds, False, api_path)


async def _asks_source(request: Request) -> None:
    extend_deadline(request, SOURCE_ANSWERS_WITHIN * context(request).settings.airbyte_timeout)


def _prefers_async(prefer: str) -> bool:
    """RFC 7240: preferences are set apart by commas, their parameters by semicolons."""
    names = (preference.split(";")[0].strip().lower() for preference in prefer.split(","))
    return "respond-async" in names


async def _idempotency_key(
    request: Request,
    caller: CallerDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="The same key, body and parameters (except `wait_seconds`) give the same "
            "resource, for 24 hours."
        ),
    ] = None,
) -> IdempotencyKey | None:
    if idempotency_key is None:
        return None
    if not IDEMPOTENCY_KEY.match(idempotency_key):
        raise InvalidRequest("Idempotency-Key is 1 to 255 visible ASCII characters.")
    what = f"{_asked(request)}\n".encode() + await request.body()
    return IdempotencyKey(idempotency_key, caller, hashlib.sha256(what).hexdigest())


def _asked(request: Request) -> str:
    """Return the method, the path and the parameters, except for the one that only says how long to
    wait for what is asked."""
    given = request.query_params.multi_items()
    query = urlencode(sorted(item for item in given if item[0] != WAIT))
    return f"{request.method} {request.url.path.rstrip('/')}" + (f"?{query}" if query else "")


RequestIdDep = Annotated[str | None, Depends(_request_id)]
IdempotencyDep = Annotated[IdempotencyKey | None, Depends(_idempotency_key)]
AsksSource = Depends(_asks_source)
"""Of a route that makes an engine ask a source, which may take its time."""
WaitDep = Annotated[Wait, Depends(_wait)]
PageDep = Annotated[Page, Depends(_page)]


def set_replayed(response: Response, claim: Claim) -> None:
    if claim.replayed:
        response.headers["Idempotency-Replayed"] = "true"


def accepted(response: Response, run: Run, wait: Wait) -> None:
    """202 with `Location`, only for a caller who chose how long to wait (see the contract)."""
    if wait.explicit and not run.state.is_terminal:
        response.status_code = 202
        response.headers["Location"] = f"{wait.runs_path}/{run.run_id}"
