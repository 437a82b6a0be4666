"""What routers share: the caller, idempotency keys, pages and their headers."""

import hashlib
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar, cast
from urllib.parse import urlencode

from fastapi import Depends, Header, Path, Query, Request, Response

from app.auth.access import READS as READS
from app.auth.access import CallerDep as CallerDep
from app.errors import InvalidRequest
from app.idempotency import Claim, IdempotencyKey

if TYPE_CHECKING:
    from app.config import Settings

T = TypeVar("T")
REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
SOURCE_ANSWERS_WITHIN = 6
"""A multiple of AIRBYTE_TIMEOUT."""
WAIT = "wait_seconds"
IDEMPOTENCY_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")

request_id_of_task: ContextVar[str | None] = ContextVar("request_id", default=None)


@dataclass(frozen=True)
class Page:
    page: int
    page_size: int

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.page_size


class Components(Protocol):
    """The components that the process was built from."""

    @property
    def settings(self) -> "Settings": ...

    def component(self, kind: type[T]) -> T:
        """Return the one component of this kind."""


def components(request: Request) -> Components:
    return cast("Components", request.app.state.context)


def component(request: Request, kind: type[T]) -> T:
    """Return the process's component of this kind, for example a domain's service."""
    return components(request).component(kind)


async def _request_id() -> str | None:
    return request_id_of_task.get()


async def _page(
    page: Annotated[int, Query(ge=1, le=1_000_000, description="Number of the page.")] = 1,
    page_size: Annotated[
        int, Query(ge=1, le=100, description="Maximum number of items on a page.")
    ] = 20,
) -> Page:
    return Page(page, page_size)


def extend_deadline(request: Request, seconds: float) -> None:
    """Let the handler of this request take `seconds` longer than REQUEST_TIMEOUT."""
    extend: Callable[[float], None] | None = getattr(request.state, "extend_deadline", None)
    if extend is not None:
        extend(seconds)


async def _asks_source(request: Request) -> None:
    extend_deadline(request, SOURCE_ANSWERS_WITHIN * components(request).settings.airbyte_timeout)


async def _idempotency_key(
    request: Request,
    caller: CallerDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="For 24 hours, a request with the same key, body and parameters (except "
            "`wait_seconds`) returns the same resource."
        ),
    ] = None,
) -> IdempotencyKey | None:
    if idempotency_key is None:
        return None
    if not IDEMPOTENCY_KEY.match(idempotency_key):
        raise InvalidRequest(
            "Idempotency-Key is invalid: expected 1 to 255 visible ASCII characters."
        )
    return IdempotencyKey(idempotency_key, caller, request.state.fingerprint)


def keep_fingerprint(request: Request, body: bytes) -> None:
    """Compute what tells the requests with one key apart. This comes before the endpoint's own
    dependencies, because the body is freed before them."""
    if "idempotency-key" in request.headers:
        digest = hashlib.sha256(f"{_request_line(request)}\n".encode())
        digest.update(body)
        request.state.fingerprint = digest.hexdigest()


def _request_line(request: Request) -> str:
    """Return the method, the path and the parameters, except for the one that only says how long to
    wait for the result."""
    parameters = request.query_params.multi_items()
    query = urlencode(sorted(item for item in parameters if item[0] != WAIT))
    return f"{request.method} {request.url.path.rstrip('/')}" + (f"?{query}" if query else "")


def id_or_name(
    parameter: str, what: str, id_of: Callable[[Request, str], Awaitable[str]]
) -> Callable[..., Awaitable[str]]:
    """Return a dependency that replaces a name in the path with the id that it stands for, also in
    the audit. `parameter` is the path's parameter, and `id_of` finds the id."""

    async def resolve(
        reference: Annotated[str, Path(alias=parameter, description=f"Id or name of the {what}.")],
        request: Request,
    ) -> str:
        resource_id = await id_of(request, reference)
        request.path_params[parameter] = resource_id
        return resource_id

    return resolve


RequestIdDep = Annotated[str | None, Depends(_request_id)]
IdempotencyDep = Annotated[IdempotencyKey | None, Depends(_idempotency_key)]
AsksSource = Depends(_asks_source)
"""The dependency of a route that makes an engine query a source, which may be slow."""
PageDep = Annotated[Page, Depends(_page)]


def set_replayed(response: Response, claim: Claim) -> None:
    if claim.replayed:
        response.headers["Idempotency-Replayed"] = "true"
