"""One running run per target, over all replicas: a lock object, and a queue in this process."""

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
GIVES_WAY = 5.0
"""Seconds that a run that could go lets an earlier one of another replica pass. That one looks at
the lock once in `LONGEST_POLL`; only if its replica has just died it does not come."""
Ticket = tuple[datetime, str]
log = structlog.get_logger()


class _Queue:
    def __init__(self) -> None:
        self.waiting: list[Ticket] = []
        self.holder: str | None = None
        self.bell = Notifier()


class TargetLocks:
    """`is_behind(run, now)`: whether another replica has an earlier run queued for the same
    target; `now`: as S3 has it at this moment, not as it was a moment ago."""

    def __init__(
        self,
        store: "ObjectStore",
        runs: RunStore,
        owner: str,
        is_behind: Callable[[Run, bool], Awaitable[bool]],
    ) -> None:
        self._store = store
        self._runs = runs
        self._owner = owner
        self._is_behind = is_behind
        self._queues: dict[str, _Queue] = {}

    async def acquire(self, run: Run) -> None:
        """Waits for its turn: first come, first served. A run that waits no more is released."""
        queue = self._queues.setdefault(run.target, _Queue())
        ticket = (run.created_at, run.run_id)
        insort(queue.waiting, ticket)
        waited, gives_way_until = False, None
        waits, blocker = backoff_delays(FIRST_POLL, LONGEST_POLL), ""
        try:
            while True:
                in_the_way: str | None = ""
                changed = queue.bell.changed
                pause = None
                first = queue.holder is None and queue.waiting[0] == ticket
                # A lock that was adopted goes before runs that are earlier.
                if first or queue.holder == run.run_id:
                    # Claimed before the answer of S3: nobody else of this process may try now.
                    queue.holder = run.run_id
                    gives_way_until = gives_way_until or time.monotonic() + GIVES_WAY
                    gives_way = time.monotonic() < gives_way_until
                    in_the_way = await self._take(run, gives_way, waited)
                    if in_the_way is None:
                        return
                    if in_the_way:
                        gives_way_until = None
                    if in_the_way != blocker:
                        # The lock goes round: it may come here soon.
                        blocker, waits = in_the_way, backoff_delays(FIRST_POLL, LONGEST_POLL)
                    # One that had the lock before a take-over may wait behind us: it goes first,
                    # or each of us would wait for the other.
                    behind = any(run_id == in_the_way for _, run_id in queue.waiting)
                    queue.holder = in_the_way if behind else None
                    pause = next(waits)
                    if behind or queue.waiting[0] != ticket:
                        # Others have seen the queue held.
                        queue.bell.notify()
                waited = True
                await wait_within(changed, pause)
        finally:
            queue.waiting.remove(ticket)

    async def adopt(self, run: Run) -> None:
        """After a take-over: the lock, if the run holds it, names its new owner and epoch."""
        from app.lakehouse.storage import PreconditionFailed

        found = await self._store.get(_key(run.target))
        if found is None or json.loads(found.body)["run_id"] != run.run_id:
            return
        self._queues.setdefault(run.target, _Queue()).holder = run.run_id
        try:
            await self._store.replace(_key(run.target), self._body(run), found.etag)
        except PreconditionFailed:
            log.info("lock_changed_hands", target=run.target, run_id=run.run_id)

    async def release(self, run: Run) -> None:
        """Before the run's end is recorded: while it is open nobody else may take its lock."""
        found = await self._store.get(_key(run.target))
        if found is not None and found.body == self._body(run):
            await self._store.delete(_key(run.target))
        self.forget(run)

    def forget(self, run: Run) -> None:
        """What this process remembers of the run's turn; the lock object stays as it is."""
        queue = self._queues.get(run.target)
        if queue is None:
            return
        if queue.holder == run.run_id:
            queue.holder = None
        queue.bell.notify()
        if queue.holder is None and not queue.waiting:
            del self._queues[run.target]

    async def _take(self, run: Run, gives_way: bool, waited: bool) -> str | None:
        """What is in the way: the run that holds the lock, or "" for another one or a fault."""
        try:
            return await self._take_or_see(run, gives_way, waited)
        except EngineUnreachable as error:
            log.warning("lock_unreachable", target=run.target, error=error.detail)
            return ""

    async def _take_or_see(self, run: Run, gives_way: bool, waited: bool) -> str | None:
        from app.lakehouse.storage import PreconditionFailed

        key, body = _key(run.target), self._body(run)
        # Looked at first: SeaweedFS lets writers that race for one key wait for whole seconds.
        held = await self._store.get(key)
        holder: str | None = json.loads(held.body)["run_id"] if held else None
        if holder != run.run_id:
            stored = await self._runs.load(holder) if holder else None
            if stored is not None and not stored.run.state.is_terminal:
                return holder
            # It is free. One that has waited knows of others: then it is worth a listing.
            if gives_way and await self._is_behind(run, waited):
                return ""
        try:
            if held is None:
                await self._store.create(key, body)
            else:
                await self._store.replace(key, body, held.etag)
        except PreconditionFailed:
            return ""
        return None

    def _body(self, run: Run) -> bytes:
        lock = {"run_id": run.run_id, "owner": self._owner, "epoch": run.epoch}
        return json.dumps(lock).encode()


def _key(target: str) -> str:
    return f"{PREFIX}{quote(target, safe='')}.json"
