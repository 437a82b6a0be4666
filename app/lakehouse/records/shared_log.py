"""The asynchronous side of a `RecordLog`, for many readers and writers in many processes."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from app.errors import EngineUnreachable
from app.lakehouse.records.compaction import Rewrite
from app.lakehouse.records.log import Changes, CommitResult, RecordLog, Row
from app.redaction import within

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import RestCatalog

    from app.lakehouse.catalog import Catalog

T = TypeVar("T")
P = TypeVar("P")
log = structlog.get_logger()

WRITE_TIMEOUT = 30.0
"""Seconds for which a write may lose races before it fails with 503."""
MOST_WRITES = 100
"""Writes that share a commit. A commit takes about as long as the rest of all their requests."""
RIVALS_ACTIVE_FOR = 1.0
COMPACTION_ATTEMPTS = 10
MAINTENANCE_PAUSE = 60.0
"""Seconds after a maintenance that failed or found nothing to do."""


Make = Callable[[Sequence[Row]], Sequence[Row]]


@dataclass(eq=False)
class _Write:
    """A write that waits for its commit. `outcome` is set once it is committed, refused or
    failed."""

    commit_id: str
    make: Make
    outcome: "asyncio.Future[None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class SharedLog(Generic[P]):
    """Calls `parse(rows, reset)` in a thread with all rows, because it takes long, and then
    `apply(parsed, reset)`. With `reset`, `apply` discards the earlier rows. Rows on which one of
    them raises are passed again at the next refresh. A row may be passed more than once.

    Writes that wait at the same time share a commit. `begin` is called before their rows are made:
    each is made as if those before it were committed."""

    def __init__(
        self,
        catalog: "Catalog",
        log: RecordLog,
        parse: Callable[[Sequence[Row], bool], P],
        apply: Callable[[P, bool], None],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._catalog = catalog
        self._log = log
        self._parse = parse
        self._apply = apply
        self._begin = begin
        self._name = ".".join(log.identifier)
        self._log_lock = asyncio.Lock()
        self._write_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[object]] = set()
        self._maintenance: asyncio.Task[None] | None = None
        self._maintained_until = 0.0
        self._queue: deque[_Write] = deque()
        self._new_rows: list[Row] = []
        self._begun = 0
        self._answered = 0
        self._failures = 0
        self._failure = ""
        self._rivals_seen = 0.0
        self._way_given_until = 0.0

    async def refresh(self) -> None:
        """Ask the catalog whether the table changed, and read new rows.

        Callers that arrive while others wait for the catalog share the next answer or failure.
        Otherwise each of them in turn would wait for a catalog that does not answer.
        """
        await self._shielded(self._refresh(self._begun, self._failures))

    async def write(self, commit_id: str, make: Make) -> None:
        """Append the rows that `make` returns to exactly the state that was applied before the
        call, followed by the rows that share the commit and were made before it.

        `make` is called again after a lost race. It gets the rows written by others since the last
        call, which may include its own: those of a commit that was never answered. It returns no
        rows when there is nothing left to write, and raises to refuse.
        """
        await self._shielded(self._write(_Write(commit_id, make), self._failures))

    async def _refresh(self, requested_after: int, failures: int) -> None:
        async with self._log_lock:
            if self._answered <= requested_after:
                self._share_failure(failures)
                await self._read_changes()

    async def _write(self, write: _Write, failures: int) -> None:
        self._queue.append(write)
        async with self._write_lock:  # first come, first served within this process
            # The queue has the order of the lock: this write is either first or already settled.
            if not write.outcome.done():
                await self._write_queue(failures)
        await write.outcome

    async def _write_queue(self, failures: int) -> None:
        """Settle the first write in the queue, and others that share its commit."""
        writes = [self._queue.popleft()]
        self._new_rows = []
        try:
            self._share_failure(failures)
            await self._give_way()
            while self._queue and len(writes) < MOST_WRITES:
                writes.append(self._queue.popleft())
            await self._write_in_turn(writes)
        except Exception as error:  # noqa: BLE001 - Each write raises it.
            for write in writes:
                if not write.outcome.done():
                    write.outcome.set_exception(error)
        finally:
            self._new_rows = []

    async def _write_in_turn(self, writes: Sequence[_Write]) -> None:
        deadline = time.monotonic() + WRITE_TIMEOUT
        while time.monotonic() < deadline:
            async with self._log_lock:
                await self._read_changes()
                # Readers may have read the rows of an unanswered commit meanwhile.
                new_rows, self._new_rows = self._new_rows, []
                if new_rows:
                    self._rivals_seen = time.monotonic()
                result = await self._write_once(writes, new_rows)
                if result is CommitResult.DONE:
                    return
            self._catalog.telemetry.commit_again("records", result.value)
            writes = [write for write in writes if not write.outcome.done()]
            await asyncio.sleep(random.uniform(0.001, 0.02))  # noqa: S311
        raise EngineUnreachable(f"The table {self._name} is too busy to write to.")

    async def _write_once(self, writes: Sequence[_Write], new_rows: Sequence[Row]) -> CommitResult:
        """Commit the rows of all writes, and settle them if that succeeds. A refusal may be due to
        rows of the same commit, so it does not count either if the commit fails."""
        self._begin()
        rows: list[Row] = []
        refusals: dict[_Write, Exception] = {}
        for write in writes:
            try:
                made = write.make(new_rows)
            except Exception as error:  # noqa: BLE001 - It is the caller's.
                refusals[write] = error
                continue
            if not made:
                write.outcome.set_result(None)
            rows += made
            await asyncio.sleep(0)  # Many writes must not hold the event loop.
        if rows:
            started = time.monotonic()
            result, parsed = await self._append(rows, writes[0].commit_id)
            if parsed is None:
                return result
            self._apply(parsed, False)
            self._won(time.monotonic() - started)
        for write in writes:
            if write in refusals:
                write.outcome.set_exception(refusals[write])
            elif not write.outcome.done():
                write.outcome.set_result(None)
        return CommitResult.DONE

    async def _append(self, rows: Sequence[Row], commit_id: str) -> tuple[CommitResult, P | None]:
        def append(_: object) -> tuple[CommitResult, P | None]:
            result = self._log.append(rows, commit_id)
            return result, self._parse(rows, False) if result is CommitResult.DONE else None

        return await self._catalog.run(append)

    async def _read_changes(self) -> None:
        self._begun += 1
        number = self._begun
        try:
            changes, parsed = await self._catalog.run(self._changes)
        except EngineUnreachable as error:
            self._failures += 1
            self._failure = error.detail
            raise
        self._apply(parsed, changes.reset)
        self._log.accept(changes)
        self._answered = number
        if self._write_lock.locked():
            self._new_rows += changes.rows

    def _changes(self, catalog: "RestCatalog") -> tuple[Changes, P]:
        changes = self._log.refresh(catalog)
        rows = [row for row in changes.rows if not row.is_superseded]
        return changes, self._parse(rows, changes.reset)

    def _share_failure(self, failures: int) -> None:
        """Raise `EngineUnreachable` if the catalog has failed again since there were `failures`."""
        if self._failures > failures:
            raise EngineUnreachable(self._failure, dependency="catalog")

    async def _give_way(self) -> None:
        """Let rivals write after this process won a race: two writers starved each other for 8
        s."""
        if (remaining := self._way_given_until - time.monotonic()) > 0:
            await asyncio.sleep(remaining)

    def _won(self, took: float) -> None:
        now = time.monotonic()
        if now - self._rivals_seen < RIVALS_ACTIVE_FOR:
            self._way_given_until = now + took * random.uniform(0.5, 1.5)  # noqa: S311
        is_due = self._log.is_long or self._log.is_crowded
        is_idle = self._maintenance is None or self._maintenance.done()
        if is_due and is_idle and now >= self._maintained_until:
            self._maintenance = asyncio.create_task(self._maintain())

    async def _maintain(self) -> None:
        try:
            if self._log.is_long:
                await self._catalog.run(self._log.expire)
            while self._log.is_crowded:
                if not await self._compact():
                    self._maintained_until = time.monotonic() + MAINTENANCE_PAUSE
                    break
        except Exception as error:  # noqa: BLE001 - The table works without maintenance.
            self._maintained_until = time.monotonic() + MAINTENANCE_PAUSE
            log.warning("maintenance_failed", table=self._name, error=repr(error))

    async def _compact(self) -> bool:
        """Rewrite small data files while writers go on, and wait only for the commit's turn. Return
        whether it was done."""
        rewrite = await self._catalog.run(self._log.rewrite)
        if rewrite is None:
            return False
        try:
            result = await self._replace(rewrite)
        except Exception:
            await self._discard(rewrite)
            raise
        if result is CommitResult.STALE:
            await self._discard(rewrite)
        return result is CommitResult.DONE

    async def _replace(self, rewrite: Rewrite) -> CommitResult:
        for attempt in range(COMPACTION_ATTEMPTS):
            result = await self._shielded(self._replace_once(rewrite))
            if result is not None:
                return result
            await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311
        return CommitResult.STALE

    async def _replace_once(self, rewrite: Rewrite) -> CommitResult | None:
        """Return None after a race that was lost to a writer. Another compaction makes the rewrite
        stale."""
        async with self._log_lock:
            await self._read_changes()
            if not self._log.has(rewrite):
                return CommitResult.STALE
            result = await self._catalog.run(lambda _: self._log.replace(rewrite))
            return None if result is CommitResult.STALE else result

    async def _discard(self, rewrite: Rewrite) -> None:
        await self._catalog.run(partial(self._log.discard, rewrite=rewrite))

    async def _shielded(self, work: Coroutine[object, object, T]) -> T:
        """Finish the work even if the caller is cancelled, so that the lock is kept until the
        thread ends. Several callers share its errors, so it runs outside every caller's scope."""
        with within(None):
            task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, because the caller may have been cancelled
