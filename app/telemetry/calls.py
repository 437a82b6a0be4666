"""Calls that leave the gateway: counted, timed and, where a trace is under way, a part of it.

Adapters are given a `Telemetry`. Neither Prometheus nor OpenTelemetry is imported here.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from app.errors import AsgardError, EngineFailed, EngineTimeout, EngineUnreachable

if TYPE_CHECKING:
    from app.telemetry.metrics import Metrics


class Outcome(StrEnum):
    OK = "ok"
    REFUSED = "refused"
    """It was the caller's fault, or a race was lost: the engine works."""
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"

    @classmethod
    def of(cls, error: BaseException) -> "Outcome":
        match error:
            case EngineUnreachable():
                return cls.UNREACHABLE
            case EngineTimeout() | TimeoutError():
                return cls.TIMEOUT
            case asyncio.CancelledError() | GeneratorExit():
                return cls.CANCELLED
            case EngineFailed():
                return cls.FAILED
            case AsgardError():
                return cls.REFUSED
            case _:
                return cls.FAILED

    @classmethod
    def of_status(cls, status: int) -> "Outcome":
        """Of an HTTP answer."""
        if status >= 500 or status in {401, 403, 429}:
            return cls.FAILED
        return cls.REFUSED if status >= 400 else cls.OK


@dataclass
class Call:
    """Under way. Whoever knows better than the exception tells says so here."""

    outcome: Outcome | None = None


class Telemetry:
    """Without metrics it counts nothing."""

    def __init__(self, metrics: "Metrics | None" = None) -> None:
        self._metrics = metrics

    @contextmanager
    def call(self, engine: str, operation: str) -> Iterator[Call]:
        """`operation` is one of a few: no id, no name and no address in it."""
        call, started = Call(), time.perf_counter()
        try:
            yield call
        except BaseException as error:
            call.outcome = call.outcome or Outcome.of(error)
            raise
        finally:
            outcome = call.outcome or Outcome.OK
            if self._metrics:
                self._metrics.called(engine, operation, outcome, time.perf_counter() - started)

    def called(self, engine: str, operation: str, outcome: Outcome, seconds: float) -> None:
        """The same, of a call that has just ended."""
        if self._metrics:
            self._metrics.called(engine, operation, outcome, seconds)

    def commit_again(self, table: str, reason: str) -> None:
        """`table`: `records` or `published`. `reason`: `stale` or `unknown`."""
        if self._metrics:
            self._metrics.commit_retries.labels(table, reason).inc()

    def s3_moved(self, direction: str, size: int) -> None:
        if self._metrics and size:
            self._metrics.s3_bytes.labels(direction).inc(size)

    def s3_failed(self, operation: str, cause: str) -> None:
        if self._metrics:
            self._metrics.s3_errors.labels(operation, cause).inc()


SILENT = Telemetry()
