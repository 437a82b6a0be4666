"""Allows one running run per target across all replicas, by a lock object in S3 and a queue in this
process."""

import json
import time
from bisect import insort
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import structlog

from app.concurrency.backoff import backoff_delays
from app.concurrency.notify import Notifier, wait_within
from app.errors import EngineUnreachable
from app.runs.model import Run
from app.runs.store import RunStore

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectStore

PREFIX = "asgard/locks/"
FIRST_POLL, LONGEST_POLL = 0.05, 1.0
YIELD_TO_EARLIER = 5.0
"""Seconds for which a run that could start waits for an earlier run of another replica. That run
checks the lock every `LONGEST_POLL`. It fails to do so only if its replica has just died."""
Ticket = tuple[datetime, str]
log = structlog.get_logger()


class _Queue:
    def __init__(self) -> None:
        self.waiting: list[Ticket] = []
        self.holder: str | None = None
        self.notifier = Notifier()


class TargetLocks:
    """`is_behind(run)` returns whether another replica has an earlier run queued for the same
    target."""

    def __init__(
        self,
        store: "ObjectStore",
        runs: RunStore,
        owner: str,
        is_behind: Callable[[Run], Awaitable[bool]],
    ) -> None:
        self._store = store
        self._runs = runs
        self._owner = owner
        self._is_behind = is_behind
        self._queues: dict[str, _Queue] = {}

    async def acquire(self, run: Run) -> None:
        """Wait for the run's turn, first come, first served. Cancelling the wait leaves the
        queue."""
        queue = self._queues.setdefault(run.target, _Queue())
        ticket = (run.created_at, run.run_id)
        insort(queue.waiting, ticket)
        yields_until = None
        delays, blocker = backoff_delays(FIRST_POLL, LONGEST_POLL), ""
        try:
            while True:
                obstacle: str | None = ""
                changed = queue.notifier.changed
                pause = None
                first = queue.holder is None and queue.waiting[0] == ticket
                # An adopted lock takes precedence over earlier runs.
                if first or queue.holder == run.run_id:
                    # Claimed before S3 answers: no other run of this process may try now.
                    queue.holder = run.run_id
                    yields_until = yields_until or time.monotonic() + YIELD_TO_EARLIER
                    yields = time.monotonic() < yields_until
                    obstacle = await self._try_acquire(run, yields)
                    if obstacle is None:
                        return
                    if obstacle:
                        yields_until = None
                    if obstacle != blocker:
                        # The lock has a new holder, so it may soon be free.
                        blocker, delays = obstacle, backoff_delays(FIRST_POLL, LONGEST_POLL)
                    # A run that held the lock before a take-over may wait behind this one. It goes
                    # first, or each would wait for the other.
                    behind = any(run_id == obstacle for _, run_id in queue.waiting)
                    queue.holder = obstacle if behind else None
                    pause = next(delays)
                    if behind or queue.waiting[0] != ticket:
                        # Other runs have seen the queue as held.
                        queue.notifier.notify()
                await wait_within(changed, pause)
        finally:
            queue.waiting.remove(ticket)

    async def adopt(self, run: Run) -> None:
        """Record the new owner and epoch in the lock after a take-over, if the run holds it."""
        from app.lakehouse.storage import PreconditionFailed

        lock = await self._store.get(_key(run.target))
        if lock is None or json.loads(lock.body)["run_id"] != run.run_id:
            return
        self._queues.setdefault(run.target, _Queue()).holder = run.run_id
        try:
            await self._store.replace(_key(run.target), self._body(run), lock.etag)
        except PreconditionFailed:
            log.info("lock_changed_hands", target=run.target, run_id=run.run_id)

    async def release(self, run: Run) -> None:
        """Release the lock before the run's end is recorded: no other run may take the lock of an
        open one."""
        lock = await self._store.get(_key(run.target))
        if lock is not None and lock.body == self._body(run):
            await self._store.delete(_key(run.target))
        self.forget(run)

    def forget(self, run: Run) -> None:
        """Remove the run from this process's queue. The lock object stays unchanged."""
        queue = self._queues.get(run.target)
        if queue is None:
            return
        if queue.holder == run.run_id:
            queue.holder = None
        queue.notifier.notify()
        if queue.holder is None and not queue.waiting:
            del self._queues[run.target]

    async def _try_acquire(self, run: Run, yields: bool) -> str | None:
        """Return None if acquired. Otherwise return the id of the run that holds the lock, or ""
        for another obstacle or an error."""
        try:
            return await self._try_acquire_once(run, yields)
        except EngineUnreachable as error:
            log.warning("lock_unreachable", target=run.target, error=error.detail)
            return ""

    async def _try_acquire_once(self, run: Run, yields: bool) -> str | None:
        from app.lakehouse.storage import PreconditionFailed

        key, body = _key(run.target), self._body(run)
        # Read first: SeaweedFS makes writers that race for one key wait for whole seconds.
        existing = await self._store.get(key)
        holder: str | None = json.loads(existing.body)["run_id"] if existing else None
        if holder != run.run_id:
            stored = await self._runs.load(holder) if holder else None
            if stored is not None and not stored.run.state.is_terminal:
                return holder
            if yields and await self._is_behind(run):
                return ""
        try:
            if existing is None:
                await self._store.create(key, body)
            else:
                await self._store.replace(key, body, existing.etag)
        except PreconditionFailed:
            return ""
        return None

    def _body(self, run: Run) -> bytes:
        lock = {"run_id": run.run_id, "owner": self._owner, "epoch": run.epoch}
        return json.dumps(lock).encode()


def _key(target: str) -> str:
    return f"{PREFIX}{quote(target, safe='')}.json"
