"""A run that this process owns: its authoritative copy, changed by durable writes only."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import structlog

from app.concurrency.backoff import backoff_delays, retry_while_unreachable
from app.concurrency.notify import RunNotifiers
from app.errors import EngineTimeout, EngineUnreachable
from app.redaction import clean, clean_start
from app.runs.handler import CancelRequested, Superseded
from app.runs.model import Run, RunEvent, RunInput
from app.runs.store import RunStore, StoredRun
from app.shorten import LONGEST_HINT

KEPT_EVENTS = 200
KEPT_LOG = 2 * 1024 * 1024
"""Characters of a log that are kept: its end."""
KEPT_LINES = 50_000
LONGEST_ENTRY = 128 * 1024
"""Characters of a text that are logged at once: its start. A driver's log arrives in parts of
64 KiB."""
log = structlog.get_logger()
Step = Callable[[Run], Run]


class Stop(Enum):
    CANCEL = "cancel"
    SUPERSEDED = "superseded"
    RELEASE = "release"
    """This process stops; another one will take the run over."""


class OwnedRun:
    """Also the `RunControl` that its handler is given."""

    def __init__(self, stored: StoredRun, runs: RunStore, bells: RunNotifiers) -> None:
        self.stored = stored
        self.task: asyncio.Task[None] | None = None
        self.stopped: Stop | None = None
        self.ending = False
        self.log_changed = False
        self._runs = runs
        self._bells = bells
        self._writing = asyncio.Lock()
        self._log: deque[str] = deque()
        self._log_size = 0

    @property
    def run(self) -> Run:
        return self.stored.run

    def stop(self, why: Stop) -> None:
        """Interrupts the handler. A run that is already being ended ends as it does."""
        if self.stopped is not None and why is not Stop.RELEASE:
            return
        if self.ending and why is Stop.CANCEL:
            return
        self.stopped = why
        if self.task is not None:
            self.task.cancel()

    async def progress(
        self,
        *,
        engine_state: str | None = None,
        inputs: tuple[RunInput, ...] | None = None,
        engine: Mapping[str, Any] | None = None,
        reason: str | None = None,
        message: str | None = None,
        warning: bool = False,
    ) -> None:
        def step(run: Run) -> Run:
            news: dict[str, Any] = {"engine": {**run.engine, **(engine or {})}}
            if engine_state is not None:
                news["engine_state"] = engine_state
            if inputs is not None:
                news["inputs"] = inputs
            return run.model_copy(update=news)

        said = reason or (engine_state if message else None) or ("Progress" if message else None)
        await self.change(step, reason=said, message=message, warning=warning)

    async def fence(self) -> None:
        found = await retry_while_unreachable(lambda: self._runs.load(self.run.run_id), "fence")
        self._require_ownership(found)
        if found is not None and found.run.cancel_requested_at is not None:
            raise CancelRequested(self.run.run_id)

    def log(self, text: str) -> None:
        self._keep(clean_start(text, LONGEST_ENTRY).rstrip("\n").split("\n"))
        self.log_changed = True

    def log_text(self) -> str:
        return "".join(f"{line}\n" for line in self._log)

    async def continue_log(self) -> None:
        """After a take-over: what the former owner had archived comes first."""
        former = await retry_while_unreachable(
            lambda: self._runs.read_log(self.run.run_id), "read log"
        )
        if former:
            cleaned = await asyncio.to_thread(clean, former.rstrip("\n"))
            later, self._log, self._log_size = self._log, deque(), 0
            self._keep((*cleaned.split("\n"), *later))
            self.log_changed = True

    def _keep(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._log.append(line)
            self._log_size += len(line) + 1
        while len(self._log) > 1 and (self._log_size > KEPT_LOG or len(self._log) > KEPT_LINES):
            self._log_size -= len(self._log.popleft()) + 1

    async def archive_log(self) -> None:
        """Raises `EngineUnreachable`; the log then counts as changed still."""
        if not self.log_changed:
            return
        self.log_changed = False
        try:
            await self._runs.write_log(self.run.run_id, self.log_text())
        except BaseException:
            self.log_changed = True
            raise

    async def change(
        self,
        step: Step,
        *,
        reason: str | None = None,
        message: str | None = None,
        warning: bool = False,
        patient: bool = True,
    ) -> Run:
        """A durable change, made on the newest state; `step` may be called again on a newer one.

        Patient: waits until S3 is back. Raises `Superseded` when another replica owns the run.
        """
        from app.lakehouse.storage import PreconditionFailed

        waits = backoff_delays()
        async with self._writing:
            while True:
                changed = _next(self.run, step, reason, message, warning)
                try:
                    self.stored = await self._runs.replace(changed, self.stored.etag)
                    break
                except PreconditionFailed:
                    await self._absorb_newer(changed, patient)
                    if self.run == changed:
                        break
                except (EngineUnreachable, EngineTimeout) as error:
                    if not patient:
                        raise
                    log.warning("run_not_written", run_id=self.run.run_id, error=error.detail)
                    await asyncio.sleep(next(waits))
        self._bells.notify(self.run.run_id)
        return self.run

    async def absorb(self, found: StoredRun) -> None:
        """What another replica wrote (a wish to cancel). Raises `Superseded`."""
        async with self._writing:
            if found.run.version <= self.run.version:
                return
            self._require_ownership(found)
            self.stored = found
        self._bells.notify(self.run.run_id)

    async def _absorb_newer(self, changed: Run, patient: bool) -> None:
        async def load() -> StoredRun | None:
            return await self._runs.load(changed.run_id)

        found = await (retry_while_unreachable(load, "read run") if patient else load())
        self._require_ownership(found)
        if found is not None:
            self.stored = found

    def _require_ownership(self, found: StoredRun | None) -> None:
        if found is None or (found.run.owner, found.run.epoch) != (self.run.owner, self.run.epoch):
            raise Superseded(self.run.run_id)


def _next(run: Run, step: Step, reason: str | None, message: str | None, warning: bool) -> Run:
    changed = step(run)
    if reason is None:
        return changed.model_copy(update={"version": run.version + 1})
    return with_event(changed, reason, message or reason, warning)


def with_event(run: Run, reason: str, message: str, warning: bool = False) -> Run:
    """The next version of the run; an event's id is the version that it came with."""
    version = run.version + 1
    kind = "Warning" if warning else "Normal"
    said = clean_start(message, LONGEST_HINT)
    event = RunEvent(id=version, at=now(), type=kind, reason=reason, message=said)
    return run.model_copy(
        update={"version": version, "events": (*run.events, event)[-KEPT_EVENTS:]}
    )


def now() -> datetime:
    return datetime.now(UTC)
