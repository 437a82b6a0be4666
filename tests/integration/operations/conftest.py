"""What an operator owns: a cluster, a bucket, an Airbyte, a Trino on a Nessie; and no Asgard."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.chart.tools import attempt, kubectl, tool
from tests.integration.servers.airbyte import AirbyteServer, airbyte_server
from tests.integration.servers.kube import ADMIN, KubeServer, binaries, kube_server
from tests.integration.servers.nessie import Nessie, start_nessie
from tests.integration.servers.node import Node
from tests.integration.servers.operator import StandInOperator
from tests.integration.servers.seaweedfs import SeaweedFs
from tests.integration.servers.spark import spark as spark_distribution
from tests.integration.servers.spark_crd import spark_application_crd
from tests.integration.servers.streaming import Streaming
from tests.integration.servers.trino import Trino, start_trino
from tests.patience import until

SPARK = "spark-operator"
PROGRAMS = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
"""The PATH of the image, whose programs are this environment's."""
CLIENT, SECRET = "client-of-asgard", "s3cret-of-airbyte"


@pytest.fixture(scope="session")
def nessie(servers_folder: Path, seaweedfs: SeaweedFs) -> Iterator[Nessie]:
    server = start_nessie(servers_folder / "nessie", seaweedfs.s3)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def trino(servers_folder: Path, seaweedfs: SeaweedFs, nessie: Nessie) -> Iterator[Trino]:
    server = start_trino(servers_folder / "trino", seaweedfs.s3, nessie.rest_uri())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def airbyte() -> Iterator[AirbyteServer]:
    with airbyte_server() as server:
        server.auth.client_id, server.auth.client_secret = CLIENT, SECRET
        yield server


@pytest.fixture(scope="session")
def kube(servers_folder: Path) -> Iterator[KubeServer]:
    for name in ("kubectl", "kwok"):
        binaries(name)
    tool("helm")
    with kube_server(servers_folder / "kube") as server:
        yield server


@pytest.fixture(scope="session")
async def admin(kube: KubeServer) -> Path:
    """A kubeconfig: the cluster has Spark's operator, and nothing of Asgard."""
    config = kube.kubeconfig(ADMIN)
    crd = json.dumps(spark_application_crd())
    kubectl(config, "apply", "--server-side", "-f", "-", stdin=crd)
    kubectl(config, "create", "namespace", SPARK)
    await until(lambda: attempt(config, "get", "sparkapplications", "-A"))
    kube.start_controllers("deployment-controller", "replicaset-controller", "job-controller")
    return config


@pytest.fixture(scope="session")
def operator(kube: KubeServer, admin: Path, servers_folder: Path) -> Iterator[StandInOperator]:
    home = servers_folder / "operator"
    home.mkdir()
    spark = spark_distribution(home / "image")
    operator = StandInOperator(kube.client(), SPARK, spark, home)
    operator.start()
    yield operator
    operator.stop()


@pytest.fixture(scope="session")
def node(kube: KubeServer, admin: Path, servers_folder: Path) -> Iterator[Node]:
    streaming = Streaming(kube, servers_folder / "streaming", PROGRAMS)
    home = servers_folder / "pods"
    home.mkdir()
    node = Node(kube, "asgard", home, streaming, PROGRAMS)
    node.start()
    yield node
    node.stop()
    streaming.stop()
