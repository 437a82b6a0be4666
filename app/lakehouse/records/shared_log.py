"""The asynchronous side of a `RecordLog`: many readers and writers, in many processes."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, TypeVar

import structlog

from app.errors import AsgardError, EngineUnreachable
from app.lakehouse.records.log import CommitResult, RecordLog, Row
from app.redaction import within

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog

T = TypeVar("T")
log = structlog.get_logger()

PATIENCE = 30.0
"""Seconds that a write goes on losing races before it gives up with 503."""
RIVALS_FORGOTTEN = 1.0


class SharedLog:
    """`apply(rows, anew)` is told of every row; `anew`: forget what was told before. Rows on which
    it raises are told again at the next refresh."""

    def __init__(
        self, catalog: "Catalog", log: RecordLog, apply: Callable[[Sequence[Row], bool], None]
    ) -> None:
        self._catalog = catalog
        self._log = log
        self._apply = apply
        self._name = ".".join(log.identifier)
        self._log_lock = asyncio.Lock()
        self._write_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[object]] = set()
        self._expiry: asyncio.Task[None] | None = None
        self._begun = 0
        self._answered = 0
        self._failures = 0
        self._failure = ""
        self._rivals_seen = 0.0
        self._way_given_until = 0.0

    async def refresh(self) -> None:
        """Asks the catalog whether the table changed, and reads what is new.

        Callers that come while others wait for the catalog share the next answer, and when there
        is none they share that: else each would wait for a mute catalog after the one before.
        """
        await self._unbroken(self._refresh(self._begun, self._failures))

    async def write(self, commit_id: str, make: Callable[[Sequence[Row]], Sequence[Row]]) -> None:
        """Appends the rows that `make` returns, on exactly what was applied before it was called.

        `make` is called again when a race was lost. It is given the rows of others since the last
        time, among which may be its own: those of a commit that was never answered. It returns
        nothing when nothing is left to write, and raises to refuse.
        """
        await self._unbroken(self._write(commit_id, make, self._failures))

    async def _refresh(self, came_after: int, failures: int) -> None:
        async with self._log_lock:
            if self._answered <= came_after:
                self._share_failure(failures)
                await self._read_news()

    async def _write(
        self, commit_id: str, make: Callable[[Sequence[Row]], Sequence[Row]], failures: int
    ) -> None:
        async with self._write_lock:  # first come, first served within this process
            self._share_failure(failures)
            await self._give_way()
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                async with self._log_lock:
                    news = await self._read_news()
                    if news:
                        self._rivals_seen = time.monotonic()
                    rows = make(news)
                    if not rows:
                        return
                    begun = time.monotonic()
                    done = await self._append(rows, commit_id)
                    if done is CommitResult.DONE:
                        self._apply(rows, False)
                        self._won(time.monotonic() - begun)
                        return
                self._catalog.telemetry.commit_again("records", done.value)
                await asyncio.sleep(random.uniform(0.001, 0.02))  # noqa: S311
            raise EngineUnreachable(f"The table {self._name} is too busy to be written.")

    async def _append(self, rows: Sequence[Row], commit_id: str) -> CommitResult:
        def append(_: object) -> CommitResult:
            return self._log.append(rows, commit_id)

        return await self._catalog.run(append)

    async def _read_news(self) -> Sequence[Row]:
        self._begun += 1
        number = self._begun
        try:
            news = await self._catalog.run(self._log.refresh)
        except EngineUnreachable as error:
            self._failures += 1
            self._failure = error.detail
            raise
        self._apply(news.rows, news.anew)
        self._log.accept(news)
        self._answered = number
        return news.rows

    def _share_failure(self, failures: int) -> None:
        """Raises when the catalog was found unreachable since there were so many `failures`."""
        if self._failures > failures:
            raise EngineUnreachable(self._failure, dependency="catalog")

    async def _give_way(self) -> None:
        """A writer that just won lets its rivals in: two starved one another for 8 s."""
        if (left := self._way_given_until - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def _won(self, took: float) -> None:
        now = time.monotonic()
        if now - self._rivals_seen < RIVALS_FORGOTTEN:
            self._way_given_until = now + took * random.uniform(0.5, 1.5)  # noqa: S311
        if self._log.is_long and (self._expiry is None or self._expiry.done()):
            self._expiry = asyncio.create_task(self._expire())

    async def _expire(self) -> None:
        try:
            await self._catalog.run(self._log.expire)
        except AsgardError as error:
            log.warning("expiry_failed", table=self._name, error=error.detail)

    async def _unbroken(self, work: Coroutine[object, object, T]) -> T:
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
            task.exception()  # seen: the caller may have been cancelled, and wants it no more
