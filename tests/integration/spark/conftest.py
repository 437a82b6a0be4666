"""A cluster for the whole session: an API server, the CRD, a namespace, a gateway's own rights."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.config import Settings
from tests.conftest import Lakehouse
from tests.integration.servers.kube import GATEWAY, KubeServer, kube_server
from tests.integration.servers.operator import StandInOperator
from tests.integration.servers.spark import spark as spark_distribution
from tests.integration.spark.cluster import Cluster, prepare
from tests.otlp_collector import Collector, collector

NAMESPACE = "spark-operator"


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    with kube_server(tmp_path_factory.mktemp("kube")) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(kube: KubeServer, lakehouse: Lakehouse) -> Cluster:
    cluster = Cluster(kube, kube.client(), NAMESPACE)
    prepare(cluster, lakehouse.lake)
    return cluster


@pytest.fixture(scope="session")
def operator(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StandInOperator]:
    home = tmp_path_factory.mktemp("operator")
    spark = spark_distribution(home / "image")
    operator = StandInOperator(cluster.client, cluster.namespace, spark, home)
    operator.start()
    yield operator
    operator.stop()
    print(f"{operator.submits} spark-submits")
    assert operator.submits <= 14, operator.written  # each takes some 15 s


@pytest.fixture(scope="session")
def traces() -> Iterator[Collector]:
    with collector() as spans:
        yield spans


@pytest.fixture(scope="session")
def settings(lakehouse: Lakehouse, cluster: Cluster, traces: Collector) -> Settings:
    return gateway_settings(lakehouse, cluster, otel_exporter_otlp_endpoint=traces.url)


def gateway_settings(lakehouse: Lakehouse, cluster: Cluster, **more: Any) -> Settings:
    changes: dict[str, Any] = {
        "trusted_hosts": ("asgard",),
        "asgard_embedded": frozenset({"ingestion", "sql", "lake"}),
        "spark_image": "registry.example/spark:1",
        "spark_namespace": cluster.namespace,
        "kubeconfig": cluster.kube.kubeconfig(GATEWAY, namespace=cluster.namespace),
        "run_timeout": 240,
        **more,
    }
    return lakehouse.settings.model_copy(update=changes)


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    from app.main import create_app

    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://asgard/api/v1", timeout=300
        ) as client,
    ):
        yield client


@pytest.fixture(scope="session")
async def client(settings: Settings, operator: StandInOperator) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway(settings) as client:
        yield client
