"""A run that this process owns: the authoritative copy, changed only by durable writes."""

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
"""Characters retained at the end of a log."""
KEPT_LINES = 50_000
LONGEST_ENTRY = 128 * 1024
"""Characters retained at the start of a logged text. A driver's log arrives in parts of 64 KiB."""
log = structlog.get_logger()
Step = Callable[[Run], Run]


class Stop(Enum):
    CANCEL = "cancel"
    SUPERSEDED = "superseded"
    RELEASE = "release"
    """This process stops, and another one will take over the run."""


class OwnedRun:
    """An owned run. It is also the `RunControl` that its handler receives."""

    def __init__(self, stored: StoredRun, runs: RunStore, notifiers: RunNotifiers) -> None:
        self.stored = stored
        self.task: asyncio.Task[None] | None = None
        self.stopped: Stop | None = None
        self.ending = False
        self.log_changed = False
        self._runs = runs
        self._notifiers = notifiers
        self._writing = asyncio.Lock()
        self._log: deque[str] = deque()
        self._log_size = 0

    @property
    def run(self) -> Run:
        return self.stored.run

    def stop(self, reason: Stop) -> None:
        """Interrupt the handler. A cancel does not change a run that is already ending."""
        if self.stopped is not None and reason is not Stop.RELEASE:
            return
        if self.ending and reason is Stop.CANCEL:
            return
        self.stopped = reason
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
            changes: dict[str, Any] = {"engine": {**run.engine, **(engine or {})}}
            if engine_state is not None:
                changes["engine_state"] = engine_state
            if inputs is not None:
                changes["inputs"] = inputs
            return run.model_copy(update=changes)

        event_reason = (
            reason or (engine_state if message else None) or ("Progress" if message else None)
        )
        await self.change(step, reason=event_reason, message=message, warning=warning)

    async def fence(self) -> None:
        stored = await retry_while_unreachable(lambda: self._runs.load(self.run.run_id), "fence")
        self._require_ownership(stored)
        if stored is not None and stored.run.cancel_requested_at is not None:
            raise CancelRequested(self.run.run_id)

    def log(self, text: str) -> None:
        # Indented, so that no text of an engine or of the data looks like an entry of its own.
        first, *further = clean_start(text, LONGEST_ENTRY).rstrip("\n").splitlines() or [""]
        self._append_lines((first, *(f"    {line}" for line in further)))
        self.log_changed = True

    def log_lines(self, text: str) -> None:
        self._append_lines(clean_start(text, LONGEST_ENTRY).rstrip("\n").split("\n"))
        self.log_changed = True

    def log_text(self) -> str:
        return "".join(f"{line}\n" for line in self._log)

    async def continue_log(self) -> None:
        """After a take-over, put the log that the previous owner archived before this process's
        own."""
        previous = await retry_while_unreachable(
            lambda: self._runs.read_log(self.run.run_id), "read log"
        )
        if previous:
            cleaned = await asyncio.to_thread(clean, previous.rstrip("\n"))
            later, self._log, self._log_size = self._log, deque(), 0
            self._append_lines((*cleaned.split("\n"), *later))
            self.log_changed = True

    def _append_lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._log.append(line)
            self._log_size += len(line) + 1
        while len(self._log) > 1 and (self._log_size > KEPT_LOG or len(self._log) > KEPT_LINES):
            self._log_size -= len(self._log.popleft()) + 1

    async def archive_log(self) -> None:
        """Write the log to S3. If that raises, for example `EngineUnreachable`, the log still
        counts as changed."""
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
        wait_for_storage: bool = True,
    ) -> Run:
        """Change the newest state durably. `step` may be called again with a newer state.

        With `wait_for_storage`, wait until S3 is back. Raises `Superseded` when another replica
        owns the run.
        """
        from app.lakehouse.storage import PreconditionFailed

        delays = backoff_delays()
        async with self._writing:
            while True:
                changed = _next(self.run, step, reason, message, warning)
                try:
                    self.stored = await self._runs.replace(changed, self.stored.etag)
                    break
                except PreconditionFailed:
                    await self._absorb_newer(changed, wait_for_storage)
                    if self.run == changed:
                        break
                except (EngineUnreachable, EngineTimeout) as error:
                    if not wait_for_storage:
                        raise
                    log.warning("run_not_written", run_id=self.run.run_id, error=error.detail)
                    await asyncio.sleep(next(delays))
        self._notifiers.notify(self.run.run_id)
        return self.run

    async def absorb(self, stored: StoredRun) -> None:
        """Accept what another replica wrote (a cancel request). Raises `Superseded`."""
        async with self._writing:
            if stored.run.version <= self.run.version:
                return
            self._require_ownership(stored)
            self.stored = stored
        self._notifiers.notify(self.run.run_id)

    async def _absorb_newer(self, changed: Run, wait_for_storage: bool) -> None:
        async def load() -> StoredRun | None:
            return await self._runs.load(changed.run_id)

        stored = await (retry_while_unreachable(load, "read run") if wait_for_storage else load())
        self._require_ownership(stored)
        if stored is not None:
            self.stored = stored

    def _require_ownership(self, stored: StoredRun | None) -> None:
        if stored is None or (stored.run.owner, stored.run.epoch) != (
            self.run.owner,
            self.run.epoch,
        ):
            raise Superseded(self.run.run_id)


def _next(run: Run, step: Step, reason: str | None, message: str | None, warning: bool) -> Run:
    changed = step(run)
    if reason is None:
        return changed.model_copy(update={"version": run.version + 1})
    return with_event(changed, reason, message or reason, warning)


def with_event(run: Run, reason: str, message: str, warning: bool = False) -> Run:
    """Return the next version of the run. The event's id is that version."""
    version = run.version + 1
    kind = "Warning" if warning else "Normal"
    text = clean_start(message, LONGEST_HINT)
    event = RunEvent(id=version, at=now(), type=kind, reason=reason, message=text)
    return run.model_copy(
        update={"version": version, "events": (*run.events, event)[-KEPT_EVENTS:]}
    )


def now() -> datetime:
    return datetime.now(UTC)
