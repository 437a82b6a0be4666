"""One watch that follows all of Asgard's SparkApplications, regardless of the number of runs."""

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
"""Seconds between two watches, so that one that ends at once causes no storm of requests."""
log = structlog.get_logger()


class ApplicationWatch:
    """A thread reads. Everything else happens on the event loop that opened the watch.

    It resumes where it ended, by resourceVersion. At the start, and if the server has forgotten
    that version (410), it lists everything and compares this with the known applications.
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
        self._attempted = asyncio.Event()
        self.refusal: EngineFailed | None = None
        """The reason why the API server refuses the watch."""

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._read_forever, name="spark-watch", daemon=True).start()

    def close(self) -> None:
        self._stopped.set()
        if (response := self._response) is not None:
            response.shutdown()

    async def require(self) -> None:
        """Raises `EngineFailed` if the applications may not be watched, since nothing would be
        known of a new one. An unreachable API server is not a reason, since it will come back."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER):
                await self._attempted.wait()
        if self.refusal is not None:
            raise self.refusal

    @contextmanager
    def follow(self, name: str) -> Iterator["asyncio.Queue[Application | None]"]:
        """Queues every change from now on, after the known state. None means it was deleted."""
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
        """Adds an application before the watch has seen it. If it vanishes, it was deleted."""
        self._changed(resource)

    def _read_forever(self) -> None:
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
                self._on_loop(self._record_response, error)
            except Exception:
                # The outer edge of a thread that has to survive every error.
                self._version = None
                log.exception("spark_watch_failed")
            if time.monotonic() - started < LEAST_SECONDS:
                self._stopped.wait(next(waits))

    def _read(self) -> None:
        if self._version is None:
            listed = self._api.list_applications()
            version = listed["metadata"]["resourceVersion"]
            self._on_loop(self._listed, listed["items"], int(version))
            self._version = version
        self._response = self._api.watch_applications(self._version)
        self._on_loop(self._record_response, None)
        if self._stopped.is_set():
            self._response.shutdown()  # `close` came too early to see it
        try:
            for line in self._api.lines(self._response):
                if line.strip():
                    self._handle(json.loads(line))
        finally:
            response, self._response = self._response, None
            response.close()

    def _handle(self, event: dict[str, Any]) -> None:
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

    def _record_response(self, error: AsgardError | None) -> None:
        self.refusal = error if isinstance(error, EngineFailed) else None
        self._attempted.set()

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
            self._notify(name, application)

    def _deleted(self, name: str) -> None:
        if self._known.pop(name, None) is not None:
            self._notify(name, None)

    def _notify(self, name: str, change: Application | None) -> None:
        for queue in self._followers.get(name, ()):
            queue.put_nowait(change)
