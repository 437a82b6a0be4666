"""script/deploy-production.sh on a real API server, with real helm and kubectl: twice, and what
changes in between. Nothing here can build an image, or run the gateway that the smoke test asks."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harnesses.scripts import Bin, ScriptResult, run
from tests.integration.chart.standin import Nodes
from tests.integration.chart.tools import helm, kubectl, tool
from tests.integration.servers.kube import KubeServer, binaries
from tests.trino_standin import Trino

NAMESPACE, SPARK = "deployed", "deployed-spark"
SECRET_KEY = "s3cr3t-of-the-lake"


class Cluster:
    def __init__(self, config: Path, folder: Path, trino: Trino) -> None:
        self._config = config
        self._trino = trino
        self._home = folder
        self.bin = Bin(folder / "bin")
        for program in (binaries("kubectl") / "kubectl", tool("helm")):
            self.bin.add(program.name, f'exec {program} "$@"')

    async def deploy(self, *arguments: str, **environment: str) -> ScriptResult:
        return await run(
            "deploy-production.sh",
            *("--bucket", "lake", "--image", "registry.example.com/asgard", "--tag", "1.2"),
            *("--namespace", NAMESPACE, "--set", f"config.sparkNamespace={SPARK}"),
            *("--set", "config.trinoHost=127.0.0.1"),
            *("--set", f"config.trinoPort={self._trino.port}"),
            *("--without", "build", "--without", "push", "--without", "smoke-test"),
            *arguments,
            bin_=self.bin,
            KUBECONFIG=str(self._config),
            HOME=str(self._home),
            **environment,
        )

    def get(self, *what: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(kubectl(self._config, "get", *what, "-o", "json"))
        return found

    def pod_template(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("deployment", "asgard-app", "-n", NAMESPACE)
        template: dict[str, Any] = found["spec"]["template"]
        return template


@pytest.fixture(scope="module")
async def trino() -> AsyncIterator[Trino]:
    server = Trino()
    yield server
    server.close()


@pytest.fixture(scope="module")
async def cluster(
    kube: KubeServer,
    admin: Path,
    controllers: None,
    trino: Trino,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Cluster]:
    nodes = Nodes(kube.client(), NAMESPACE)
    nodes.start()
    yield Cluster(admin, tmp_path_factory.mktemp("deploy"), trino)
    helm("uninstall", "asgard", "-n", NAMESPACE, "--wait", kubeconfig=admin)
    nodes.stop()


async def test_it_deploys_from_nothing_again_and_with_new_credentials(
    cluster: Cluster, trino: Trino
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "key-id", "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    first = await cluster.deploy(**keys)

    assert first.code == 0, first.out + first.err
    assert [sql.split(".")[-1].split()[0] for sql in trino.made] == ['"silver"', '"gold"']
    for namespace in (NAMESPACE, SPARK):
        secret = cluster.get("secret", "s3-credentials", "-n", namespace)
        assert base64.b64decode(secret["data"]["AWS_SECRET_ACCESS_KEY"]).decode() == SECRET_KEY
        assert "annotations" not in secret["metadata"], "it would hold the secret once more"
    assert cluster.get("serviceaccount", "spark-sa", "-n", SPARK)
    [container] = cluster.pod_template()["spec"]["containers"]
    assert container["image"] == "registry.example.com/asgard:1.2"

    # The credentials are there by now: they need not be given again.
    started = cluster.pod_template()
    again = await cluster.deploy()
    assert again.code == 0, again.out + again.err
    assert cluster.pod_template() == started, "nothing has changed, so nothing is restarted"

    changed = await cluster.deploy(**{**keys, "AWS_SECRET_ACCESS_KEY": "a-new-one"})
    assert changed.code == 0, changed.out + changed.err
    restarted = cluster.pod_template()["metadata"]["annotations"]
    assert restarted.keys() - started["metadata"]["annotations"].keys() == {
        "kubectl.kubernetes.io/restartedAt"
    }
    secret = cluster.get("secret", "s3-credentials", "-n", NAMESPACE)
    assert base64.b64decode(secret["data"]["AWS_SECRET_ACCESS_KEY"]) == b"a-new-one"
    seen = "".join(s.out + s.err for s in (first, again, changed)) + "".join(cluster.bin.called)
    assert SECRET_KEY not in seen


async def test_values_that_the_chart_refuses_stop_it_at_once(cluster: Cluster) -> None:
    called = len(cluster.bin.called)
    said = await cluster.deploy("--set", "replicaCount=many")
    assert said.code == 1
    assert "replicaCount" in said.err
    assert "The chart refuses these values." in said.err
    assert [call.split()[0] for call in cluster.bin.called[called:]] == ["kubectl", "helm"]
