"""Liveness, readiness and metrics. A shared outage never takes a replica out: see the contract."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from app.auth.access import needs
from app.caller import METRICS

if TYPE_CHECKING:
    from app.context import ProcessContext

router = APIRouter(tags=["health"])

PROBE_BUDGET = 1.0
"""Seconds that readiness gives each dependency."""


class Probe(BaseModel):
    status: str
    """`ok` or `unreachable`."""
    latency_seconds: float
    cause: str | None = None


class Health(BaseModel):
    status: str
    version: str


class Readiness(BaseModel):
    status: str
    """`ready`, `degraded` (a dependency is away), `starting` or `draining`."""
    dependencies: dict[str, Probe]


@router.get("/health")
async def health(request: Request) -> Health:
    """The process is alive."""
    return Health(status="healthy", version=request.app.version)


@router.get("/health/ready", responses={503: {"model": Readiness}})
async def ready(request: Request, response: Response) -> Readiness:
    """Whether this process takes requests, and what it found of its dependencies."""
    context = cast("ProcessContext | None", getattr(request.app.state, "context", None))
    if context is None or request.app.state.draining:
        response.status_code = 503
        status = "starting" if context is None else "draining"
        return Readiness(status=status, dependencies={})
    names = list(context.probes)
    found = await asyncio.gather(*(probe(context.probes[name]) for name in names))
    probes = dict(zip(names, found, strict=True))
    away = any(item.status != "ok" for item in found)
    return Readiness(status="degraded" if away else "ready", dependencies=probes)


@router.get("/metrics", response_class=Response, dependencies=[needs(METRICS)])
async def metrics(request: Request) -> Response:
    """The gateway's own series, in Prometheus' text format."""
    return Response(
        generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST
    )


async def probe(check: Callable[[], Awaitable[object]], budget: float = PROBE_BUDGET) -> Probe:
    """Runs one check within its budget, in seconds; never raises."""
    started = time.perf_counter()
    cause: str | None = None
    # Left behind when it is late: a cancelled check would be waited for until its thread ends.
    checking = asyncio.ensure_future(check())
    checking.add_done_callback(_seen)
    if not (await asyncio.wait({checking}, timeout=budget))[0]:
        cause = f"no answer within {budget:g} s"
    elif (error := checking.exception()) is not None:
        cause = str(error) or type(error).__name__
    status = "ok" if cause is None else "unreachable"
    return Probe(
        status=status, latency_seconds=round(time.perf_counter() - started, 4), cause=cause
    )


def _seen(checking: asyncio.Future[object]) -> None:
    if not checking.cancelled():
        checking.exception()
