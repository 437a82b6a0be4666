"""Liveness, readiness and metrics. The outage of a shared dependency never makes a replica
unready."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, cast

import structlog
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from app.auth.access import needs
from app.caller import METRICS
from app.errors import AsgardError, EngineTimeout, EngineUnreachable
from app.failure import FailureCause

if TYPE_CHECKING:
    from app.context import ProcessContext

router = APIRouter(tags=["health"])

PROBE_BUDGET = 1.0
"""Seconds that readiness gives each dependency."""
ROUND_SECONDS = 1.0
"""The seconds for which readiness reuses the results of the last round of checks."""
FAILED = "the check failed; the gateway's log has the cause"
UNREACHABLE = "it cannot be reached; the gateway's log has the cause"
SLOW = "it did not respond in time; the gateway's log has the cause"
DENIED = "it refused the gateway's credentials; the gateway's log has the cause"
Checks = Mapping[str, Callable[[], Awaitable[object]]]
log = structlog.get_logger(__name__)


class Probe(BaseModel):
    status: str = Field(description="`ok` or `unreachable`.")
    latency_seconds: float = Field(description="Seconds that the check took.")
    cause: str | None = Field(None, description="Why the dependency is unreachable.")


class Rounds:
    """Shares one round of checks between callers: anyone may request readiness at any rate."""

    def __init__(self) -> None:
        self._checks: Checks | None = None
        self._round: asyncio.Task[dict[str, Probe]] | None = None
        self._started = 0.0

    async def results(self, checks: "Checks") -> dict[str, Probe]:
        if self._round is None or self._checks is not checks or self._is_old(self._round):
            self._checks, self._started = checks, time.monotonic()
            self._round = asyncio.create_task(_probe_all(checks))
        return await asyncio.shield(self._round)

    def _is_old(self, last: asyncio.Task[dict[str, Probe]]) -> bool:
        return last.done() and time.monotonic() - self._started >= ROUND_SECONDS


class Health(BaseModel):
    status: str = Field(description="Always `healthy`.")
    version: str = Field(description="Version of Asgard.")


class Readiness(BaseModel):
    status: str = Field(
        description="`ready`, `degraded` (a dependency is unreachable), `starting` or `draining`."
    )
    dependencies: dict[str, Probe] = Field(description="The state of each dependency.")


@router.get("/health")
async def get_health(request: Request) -> Health:
    """Reports that the process is alive."""
    return Health(status="healthy", version=request.app.version)


@router.get(
    "/health/ready",
    responses={503: {"model": Readiness, "description": "It is starting or draining."}},
)
async def get_readiness(request: Request, response: Response) -> Readiness:
    """Reports whether this process accepts requests, and the state of each dependency."""
    context = cast("ProcessContext | None", getattr(request.app.state, "context", None))
    if context is None or request.app.state.draining:
        response.status_code = 503
        status = "starting" if context is None else "draining"
        return Readiness(status=status, dependencies={})
    probes = await request.app.state.rounds.results(context.probes)
    is_degraded = any(item.status != "ok" for item in probes.values())
    return Readiness(status="degraded" if is_degraded else "ready", dependencies=probes)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    dependencies=[needs(METRICS)],
)
async def get_metrics(request: Request) -> Response:
    """Returns the gateway's own metrics, in the Prometheus text format."""
    return Response(
        generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST
    )


async def _probe_all(checks: Checks) -> dict[str, Probe]:
    probes = await asyncio.gather(*(probe(check) for check in checks.values()))
    return dict(zip(checks, probes, strict=True))


def _public_cause(error: BaseException) -> str:
    """Return what anyone may know of the error. The details of our errors may quote a library or a
    server, and so reveal addresses."""
    log.warning("probe_failed", error=type(error).__name__, text=str(error))
    match error:
        case AsgardError(public=str(public)):
            return public
        case EngineUnreachable():
            return UNREACHABLE
        case EngineTimeout():
            return SLOW
        case AsgardError(cause=FailureCause.PERMISSION_DENIED):
            return DENIED
        case _:
            return FAILED


async def probe(check: Callable[[], Awaitable[object]], budget: float = PROBE_BUDGET) -> Probe:
    """Run one check within its budget, in seconds. Never raises."""
    started = time.perf_counter()
    cause: str | None = None
    # A late check is left running: cancelling it would wait until its thread ends.
    task = asyncio.ensure_future(check())
    task.add_done_callback(_retrieve_exception)
    if not (await asyncio.wait({task}, timeout=budget))[0]:
        cause = f"no response within {budget:g} s"
    elif (error := task.exception()) is not None:
        cause = _public_cause(error)
    status = "ok" if cause is None else "unreachable"
    return Probe(
        status=status, latency_seconds=round(time.perf_counter() - started, 4), cause=cause
    )


def _retrieve_exception(task: asyncio.Future[object]) -> None:
    if not task.cancelled():
        task.exception()
