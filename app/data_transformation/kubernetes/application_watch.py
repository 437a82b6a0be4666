"""One watch that follows all of Asgard's SparkApplications, however many runs there are."""

import asyncio
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import structlog

from app.concurrency.backoff import backoff_delays
from app.data_transformation.kubernetes.api import KubernetesApi
from app.data_transformation.kubernetes.application import Application
from app.data_transformation.kubernetes.errors import WatchExpired
from app.errors import AsgardError, EngineFailed

FIRST_ANSWER = 15.0
LEAST_SECONDS = 1.0
"""Between two watches: something that ends them at once must not become a storm of requests."""
log = structlog.get_logger()


class ApplicationWatch:
    """A thread reads; all else happens on the event loop that opened it.

    It resumes where it ended, by resourceVersion; when the server has forgotten that (410), and
    at the start, everything is listed anew and compared with what was known.
    """

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._known: dict[str, tuple[int, Application]] = {}
        self._followers: defaultdict[str, list[asyncio.Queue[Application | None]]] = defaultdict(
            list
        )
        self._version: str | None = None
        self._response: Any = None
        self._stopped = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._tried = asyncio.Event()
        self.fault: EngineFailed | None = None
        """Why the API server refuses to let the applications be watched."""

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._read_for_ever, name="spark-watch", daemon=True).start()

    def close(self) -> None:
        self._stopped.set()
        if (response := self._response) is not None:
            response.shutdown()

    async def require(self) -> None:
        """Raises `EngineFailed` when the applications may not be watched: nothing could then be
        known of a new one. An API server that is away is no reason; it will come back."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER):
                await self._tried.wait()
        if self.fault is not None:
            raise self.fault

    @contextmanager
    def follow(self, name: str) -> Iterator["asyncio.Queue[Application | None]"]:
        """Every change from now on, beginning with how it is known; None: it was deleted."""
        queue: asyncio.Queue[Application | None] = asyncio.Queue()
        self._followers[name].append(queue)
        if name in self._known:
            queue.put_nowait(self._known[name][1])
        try:
            yield queue
        finally:
            self._followers[name].remove(queue)
            if not self._followers[name]:
                del self._followers[name]

    def created(self, resource: Mapping[str, Any]) -> None:
        """Known before the watch has seen it: if it vanishes meanwhile, that is a deletion."""
        self._changed(resource)

    def _read_for_ever(self) -> None:
        waits = backoff_delays(first=LEAST_SECONDS, longest=15.0)
        while not self._stopped.is_set():
            started = time.monotonic()
            try:
                self._read()
                waits = backoff_delays(first=LEAST_SECONDS, longest=15.0)
            except WatchExpired:
                self._version = None
            except AsgardError as error:
                if not self._stopped.is_set():
                    log.warning("spark_watch_interrupted", error=error.detail)
                self._on_loop(self._answered, error)
            except Exception:
                # The outer edge of a thread that has to outlive every fault.
                self._version = None
                log.exception("spark_watch_broke")
            if time.monotonic() - started < LEAST_SECONDS:
                self._stopped.wait(next(waits))

    def _read(self) -> None:
        if self._version is None:
            found = self._api.list_applications()
            version = found["metadata"]["resourceVersion"]
            self._on_loop(self._listed, found["items"], int(version))
            self._version = version
        self._response = self._api.watch_applications(self._version)
        self._on_loop(self._answered, None)
        if self._stopped.is_set():
            self._response.shutdown()  # `close` came too early to see it
        try:
            for line in self._api.lines(self._response):
                if line.strip():
                    self._take(json.loads(line))
        finally:
            response, self._response = self._response, None
            response.close()

    def _take(self, event: dict[str, Any]) -> None:
        resource = event["object"]
        match event["type"]:
            case "ERROR":
                if resource.get("code") == 410:
                    raise WatchExpired(resource.get("message"))
                log.warning("spark_watch_error", error=resource.get("message"))
                return
            case "ADDED" | "MODIFIED":
                self._on_loop(self._changed, resource)
            case "DELETED":
                self._on_loop(self._deleted, resource["metadata"]["name"])
        self._version = resource["metadata"]["resourceVersion"]

    def _on_loop(self, work: Any, *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(work, *arguments)
        except RuntimeError:
            self._stopped.set()  # the loop was closed without us

    def _answered(self, error: AsgardError | None) -> None:
        self.fault = error if isinstance(error, EngineFailed) else None
        self._tried.set()

    def _listed(self, resources: list[Mapping[str, Any]], version: int) -> None:
        for resource in resources:
            self._changed(resource)
        names = {resource["metadata"]["name"] for resource in resources}
        gone = [
            name for name, (seen, _) in self._known.items() if name not in names and seen <= version
        ]
        for name in gone:
            self._deleted(name)

    def _changed(self, resource: Mapping[str, Any]) -> None:
        name = resource["metadata"]["name"]
        version = int(resource["metadata"]["resourceVersion"])
        application = Application.of(resource)
        before = self._known.get(name)
        if before is not None and version < before[0]:
            return
        self._known[name] = (version, application)
        if before is None or before[1] != application:
            self._tell(name, application)

    def _deleted(self, name: str) -> None:
        if self._known.pop(name, None) is not None:
            self._tell(name, None)

    def _tell(self, name: str, news: Application | None) -> None:
        for queue in self._followers.get(name, ()):
            queue.put_nowait(news)
