"""A few warm workers, started on demand and replaced before they degrade."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from app.errors import EngineUnreachable
from app.processes.errors import WorkerDied, WorkerError, WorkerFailure
from app.processes.worker import WorkerProcess
from app.telemetry.calls import SILENT, Telemetry

log = structlog.get_logger()


class WorkerPool:
    """At most `size` workers. A worker that died, answered `max_calls` calls, holds `max_rss` bytes
    or is `max_age` seconds old (catalog tokens live an hour) is replaced at the next request."""

    def __init__(
        self,
        factory: Callable[[], Awaitable[WorkerProcess]],
        size: int,
        *,
        max_calls: int = 200,
        max_rss: int = 400 * 1024 * 1024,
        max_age: float = 50 * 60,
        engine: str = "worker",
        telemetry: Telemetry = SILENT,
    ) -> None:
        """`engine` names the workers in the metrics."""
        self._factory = factory
        self._slots = asyncio.Semaphore(size)
        self._max_calls = max_calls
        self._max_rss = max_rss
        self._max_age = max_age
        self._engine = engine
        self._telemetry = telemetry
        self._idle: list[WorkerProcess] = []
        self._workers: set[WorkerProcess] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[WorkerProcess]:
        """Wait for a free worker. Raises `EngineUnreachable` if no worker starts, because it died
        twice or a dependency (above all the lake) cannot be reached."""
        with self._telemetry.waiting(self._engine):
            await self._slots.acquire()
        try:
            worker = await self._take()
            try:
                yield worker
            finally:
                self._give_back(worker)
        finally:
            self._slots.release()

    async def warm(self) -> None:
        """Start one worker, so that the first call does not wait for it."""
        async with self.acquire():
            pass

    async def close(self) -> None:
        self._closed = True
        for worker in tuple(self._workers):
            if worker not in self._idle:
                worker.kill()
            self._retire(worker)
        self._idle.clear()
        await asyncio.gather(*self._closing)

    async def _take(self) -> WorkerProcess:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive and worker.age < self._max_age:
                return worker
            self._retire(worker)
        if self._closed:
            raise RuntimeError("the pool of workers is closed")
        try:
            worker = await self._started()
        except WorkerError as error:
            raise error.to_asgard() or _not_started(error) from error
        except WorkerFailure as error:
            raise _not_started(error) from error
        self._workers.add(worker)
        return worker

    async def _started(self) -> WorkerProcess:
        try:
            return await self._factory()
        except WorkerDied as error:
            log.warning("worker_died_starting", error=str(error))
            return await self._factory()

    def _give_back(self, worker: WorkerProcess) -> None:
        if worker not in self._workers:
            return
        worn_out = worker.calls >= self._max_calls or worker.age >= self._max_age
        if self._closed or worn_out or not worker.alive or worker.recent_rss() >= self._max_rss:
            self._retire(worker)
        else:
            self._idle.append(worker)

    def _retire(self, worker: WorkerProcess) -> None:
        self._workers.discard(worker)
        task = asyncio.create_task(worker.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _not_started(error: Exception) -> EngineUnreachable:
    return EngineUnreachable(f"A worker process could not be started: {error}")
