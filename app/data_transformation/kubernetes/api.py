"""The part of the Kubernetes API that Spark needs: in threads, with timeouts and our errors."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread

from app.config import ConfigurationError
from app.data_transformation.kubernetes.application import GROUP, PLURAL, SELECTOR, VERSION
from app.data_transformation.kubernetes.errors import KubernetesCall, translated
from app.data_transformation.kubernetes.permissions import identity, missing_rights
from app.errors import EngineFailed
from app.failure import FailureCause
from app.telemetry.calls import SILENT, Telemetry
from app.telemetry.outcomes import Outcome

T = TypeVar("T")

CONCURRENCY = 8
TIMEOUTS = (2.0, 10.0)
"""Seconds to connect, and to wait for a server that accepted but does not answer."""
WATCH_SECONDS = 300
"""Seconds after which the server ends a watch. It then resumes where it ended."""
WATCH_SILENCE = 150.0
"""Seconds of silence that end a watch. The server sends a bookmark about every minute."""
LOG_SILENCE = 300.0
"""Seconds of silence after which a driver's log is requested again, as its connection may be
dead."""
LOG_BYTES = 2 * 1024 * 1024
DRIVER_CONTAINER = "spark-kubernetes-driver"


class KubernetesApi:
    """The API. Calls raise `EngineUnreachable` while the API server cannot be reached."""

    def __init__(
        self,
        namespace: str,
        *,
        in_cluster: bool,
        kubeconfig: Path | None,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self.namespace = namespace
        self._telemetry = telemetry
        self._in_cluster = in_cluster
        self._kubeconfig = kubeconfig
        self._limiter = anyio.CapacityLimiter(CONCURRENCY)
        self._opening = threading.Lock()
        self._client: Any = None

    async def probe(self) -> str:
        """Returns the server and the identity. Raises the error that prevents Spark runs."""
        review = KubernetesCall("create", "selfsubjectreviews", "authentication.k8s.io")
        user, host = await self._run(
            review, lambda client: (identity(client), client.configuration.host)
        )
        missing = await self._run(review, lambda client: missing_rights(client, self.namespace))
        if missing:
            raise EngineFailed(
                f"{user} may not {', '.join(missing)} in the namespace {self.namespace}.",
                cause=FailureCause.PERMISSION_DENIED,
                hint="Add the verbs to its Role there: docs/production/spark.md lists them all.",
            )
        await anyio.to_thread.run_sync(self.list_applications, limiter=self._limiter)
        return f"{host} as {user}, namespace {self.namespace}"

    async def create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        return await self._run(
            KubernetesCall("create", PLURAL, GROUP),
            lambda client: _custom(client).create_namespaced_custom_object(
                GROUP,
                VERSION,
                self.namespace,
                PLURAL,
                manifest,
                field_validation="Strict",
                _request_timeout=TIMEOUTS,
            ),
        )

    async def application(self, name: str) -> dict[str, Any]:
        """Raises `NotFound`."""
        return await self._run(
            KubernetesCall("get", PLURAL, GROUP),
            lambda client: _custom(client).get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, name, _request_timeout=TIMEOUTS
            ),
        )

    async def delete(self, name: str) -> None:
        """Raises `NotFound`."""
        await self._run(
            KubernetesCall("delete", PLURAL, GROUP),
            lambda client: _custom(client).delete_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, name, _request_timeout=TIMEOUTS
            ),
        )

    async def pod(self, name: str) -> Any:
        """Returns a `V1Pod`. Raises `NotFound`."""
        return await self._run(
            KubernetesCall("get", "pods"),
            lambda client: _core(client).read_namespaced_pod(
                name, self.namespace, _request_timeout=TIMEOUTS
            ),
        )

    async def driver_log(self, pod: str) -> str:
        """Returns the end of the log. Raises `NotFound`."""
        return await self._run(
            KubernetesCall("get", "pods/log"),
            lambda client: _end_of(
                self.chunks(
                    _core(client).read_namespaced_pod_log(
                        pod,
                        self.namespace,
                        container=DRIVER_CONTAINER,
                        tail_lines=20_000,
                        _preload_content=False,
                        _request_timeout=TIMEOUTS,
                    )
                )
            ),
        )

    def follow_log(self, pod: str) -> Any:
        """Returns a response that lasts until the driver ends. Blocks. Raises `NotFound`."""
        return self._call(
            KubernetesCall("get", "pods/log"),
            lambda client: _core(client).read_namespaced_pod_log(
                pod,
                self.namespace,
                container=DRIVER_CONTAINER,
                follow=True,
                _preload_content=False,
                _request_timeout=(TIMEOUTS[0], LOG_SILENCE),
            ),
        )

    async def events(self, name: str) -> list[Any]:
        """Returns the `CoreV1Event`s of the object with this name, oldest first."""
        events = await self._run(
            KubernetesCall("list", "events"),
            lambda client: _core(client).list_namespaced_event(
                self.namespace,
                field_selector=f"involvedObject.name={name}",
                limit=200,
                _request_timeout=TIMEOUTS,
            ),
        )
        return sorted(events.items, key=lambda event: event.metadata.creation_timestamp)

    def list_applications(self) -> dict[str, Any]:
        """Lists all of Asgard's applications. Blocks."""
        applications: dict[str, Any] = self._call(
            KubernetesCall("list", PLURAL, GROUP),
            lambda client: _custom(client).list_namespaced_custom_object(
                GROUP,
                VERSION,
                self.namespace,
                PLURAL,
                label_selector=SELECTOR,
                _request_timeout=TIMEOUTS,
            ),
        )
        return applications

    def watch_applications(self, resource_version: str) -> Any:
        """Returns a response whose lines are the later changes. Blocks. Raises `WatchExpired`."""
        return self._call(
            KubernetesCall("watch", PLURAL, GROUP),
            lambda client: _custom(client).list_namespaced_custom_object(
                GROUP,
                VERSION,
                self.namespace,
                PLURAL,
                label_selector=SELECTOR,
                watch=True,
                allow_watch_bookmarks=True,
                resource_version=resource_version,
                timeout_seconds=WATCH_SECONDS,
                _preload_content=False,
                _request_timeout=(TIMEOUTS[0], WATCH_SILENCE),
            ),
        )

    def lines(self, response: Any) -> Iterator[bytes]:
        """Yields the lines. Raises the translated error of a connection that breaks."""
        yield from self._read(response, KubernetesCall("watch", PLURAL, GROUP))

    def chunks(self, response: Any) -> Iterator[bytes]:
        """Yields the bytes as they arrive. Raises as `lines` does."""
        yield from self._read(response.stream(), KubernetesCall("get", "pods/log"))

    def _read(self, pieces: Iterator[bytes], call: KubernetesCall) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        try:
            yield from pieces
        except (HTTPError, OSError, ValueError) as error:
            raise translated(error, call, self.namespace) from error

    def close(self) -> None:
        with self._opening:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def _run(self, call: KubernetesCall, work: Callable[[Any], T]) -> T:
        return await anyio.to_thread.run_sync(self._call, call, work, limiter=self._limiter)

    def _call(self, call: KubernetesCall, work: Callable[[Any], T]) -> T:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        client = self._open()
        with self._telemetry.call("kubernetes", f"{call.verb} {call.resource}") as counted:
            try:
                return work(client)
            except (ApiException, HTTPError, OSError) as error:
                if isinstance(status := getattr(error, "status", None), int) and status:
                    counted.outcome = Outcome.of_status(status)
                raise translated(error, call, self.namespace) from error

    def _open(self) -> Any:
        with self._opening:
            if self._client is None:
                self._client = _client(self._in_cluster, self._kubeconfig)
            return self._client


def _client(in_cluster: bool, kubeconfig: Path | None) -> Any:
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if in_cluster:
            config.load_incluster_config(configuration)
        else:
            path = str(kubeconfig) if kubeconfig else None
            config.load_kube_config(config_file=path, client_configuration=configuration)
    except config.ConfigException as error:
        raise ConfigurationError(
            f"SPARK_IMAGE requires Spark on Kubernetes, but no cluster is configured: {error}. "
            "Set KUBECONFIG, or run Asgard in the cluster."
        ) from error
    configuration.retries = False
    configuration.connection_pool_maxsize = CONCURRENCY + 1
    return client.ApiClient(configuration)


def _custom(client: Any) -> Any:
    from kubernetes.client import CustomObjectsApi

    return CustomObjectsApi(client)


def _end_of(chunks: Iterator[bytes]) -> str:
    end = bytearray()
    for chunk in chunks:
        end += chunk
        del end[:-LOG_BYTES]
    return end.decode("utf-8", "replace")


def _core(client: Any) -> Any:
    from kubernetes.client import CoreV1Api

    return CoreV1Api(client)
