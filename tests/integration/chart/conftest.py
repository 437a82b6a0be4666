"""An API server with every CRD that the chart may speak of, and as whom it is asked."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.chart.tools import attempt, crds, kubectl
from tests.integration.chart.values import VALUE_SETS
from tests.integration.servers.kube import ADMIN, KubeServer, binaries, kube_server
from tests.integration.servers.spark_crd import spark_application_crd


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    binaries("kubectl")
    with kube_server(tmp_path_factory.mktemp("kube")) as server:
        yield server


@pytest.fixture(scope="session")
def admin(kube: KubeServer) -> Path:
    """A kubeconfig: the cluster has the CRDs, and the namespaces that others make."""
    config = kube.kubeconfig(ADMIN)
    for crd in [spark_application_crd(), *crds()]:
        kubectl(config, "apply", "--server-side", "-f", "-", stdin=json.dumps(crd))
    _await_served(config)
    for namespace in ("spark-operator", "data-platform", "airbyte", "elsewhere"):
        kubectl(config, "create", "namespace", namespace)
    return config


@pytest.fixture(scope="session")
def controllers(kube: KubeServer, admin: Path) -> None:
    """What makes pods of a Deployment and of a Job."""
    kube.start_controllers("deployment-controller", "replicaset-controller", "job-controller")


@pytest.fixture(scope="session")
def openapi(kube: KubeServer, admin: Path) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    answer = httpx.get(f"{kube.url}/openapi/v2", verify=False, headers=headers, timeout=60)  # noqa: S501
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture(scope="session")
def value_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("values")
    for name, values in VALUE_SETS.items():
        (folder / f"{name}.yaml").write_text(json.dumps(values))
    return {name: folder / f"{name}.yaml" for name in VALUE_SETS}


def _await_served(config: Path) -> None:
    """`/openapi/v2` follows a CRD after a while, and its storage asks for patience at first."""
    wanted = ("SparkApplication", "HTTPRoute", "ServiceMonitor", "PrometheusRule")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        served = kubectl(config, "get", "--raw", "/openapi/v2")
        listed = all(attempt(config, "get", kind, "-A") for kind in wanted)
        if listed and all(f'"kind":"{kind}"' in served for kind in wanted):
            return
        time.sleep(0.2)
    raise AssertionError("the CRDs are not in the OpenAPI document")
