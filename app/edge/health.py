"""Liveness, readiness and metrics. A shared outage never takes a replica out: see the contract."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, cast

import structlog
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from app.auth.access import needs
from app.caller import METRICS
from app.errors import AsgardError

if TYPE_CHECKING:
    from app.context import ProcessContext

router = APIRouter(tags=["health"])

PROBE_BUDGET = 1.0
"""Seconds that readiness gives each dependency."""
ROUND_SECONDS = 1.0
"""The time for which readiness answers with what the last round of checks found."""
FAILED = "the check failed; the log of the gateway has the cause"
Checks = Mapping[str, Callable[[], Awaitable[object]]]
log = structlog.get_logger(__name__)


class Probe(BaseModel):
    status: str
    """`ok` or `unreachable`."""
    latency_seconds: float
    cause: str | None = None


class Rounds:
    """Shares one round of checks: anyone may ask for readiness, as often as they like."""

    def __init__(self) -> None:
        self._checks: Checks | None = None
        self._round: asyncio.Task[dict[str, Probe]] | None = None
        self._begun = 0.0

    async def found(self, checks: "Checks") -> dict[str, Probe]:
        if self._round is None or self._checks is not checks or self._is_old(self._round):
            self._checks, self._begun = checks, time.monotonic()
            self._round = asyncio.create_task(_probed(checks))
        return await asyncio.shield(self._round)

    def _is_old(self, last: asyncio.Task[dict[str, Probe]]) -> bool:
        return last.done() and time.monotonic() - self._begun >= ROUND_SECONDS


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
    probes = await request.app.state.rounds.found(context.probes)
    away = any(item.status != "ok" for item in probes.values())
    return Readiness(status="degraded" if away else "ready", dependencies=probes)


@router.get("/metrics", response_class=Response, dependencies=[needs(METRICS)])
async def metrics(request: Request) -> Response:
    """The gateway's own series, in Prometheus' text format."""
    return Response(
        generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST
    )


async def _probed(checks: Checks) -> dict[str, Probe]:
    found = await asyncio.gather(*(probe(check) for check in checks.values()))
    return dict(zip(checks, found, strict=True))


def _told(error: BaseException) -> str:
    """The text of another error may say more than anyone may know."""
    if isinstance(error, AsgardError):
        return error.detail
    log.warning("probe_failed", error=type(error).__name__, text=str(error))
    return FAILED


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
        cause = _told(error)
    status = "ok" if cause is None else "unreachable"
    return Probe(
        status=status, latency_seconds=round(time.perf_counter() - started, 4), cause=cause
    )


def _seen(checking: asyncio.Future[object]) -> None:
    if not checking.cancelled():
        checking.exception()
