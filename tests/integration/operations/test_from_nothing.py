"""docs/operations.md as its reader takes it: one shell, from an empty cluster to a data product.

Real are kubectl, helm, the API server with its controllers, Trino on Nessie, S3, and Spark, which
an operator of the tests' own runs by spark-submit. Airbyte is the stand-in that its SDK accepts.
There is no container engine: `docker` is only noted, and pods are processes (servers/node.py).
"""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.documents import CLUSTER, COPIED, ROOT, WAY, Block, blocks, told, untrue
from tests.harnesses.scripts import Bin
from tests.integration.chart.tools import kubectl, tool
from tests.integration.operations.conftest import CLIENT, SECRET, SPARK
from tests.integration.servers.airbyte import AirbyteServer
from tests.integration.servers.kube import binaries
from tests.integration.servers.nessie import Nessie
from tests.integration.servers.node import Node
from tests.integration.servers.operator import StandInOperator
from tests.integration.servers.seaweedfs import SeaweedFs
from tests.integration.servers.trino import Trino
from tests.ports import free_port

EXPORT = re.compile(r"^export ([A-Z0-9_]+)=.*$", re.MULTILINE)
IMAGE = "registry.example.com/asgard"
PASSWORD = "s3cret-of-the-registry"
SECONDS = 400
TREE = ("Dockerfile", "spark.Dockerfile", "app", "helmchart", "k8s", "script")
DECADES = [[10, 4], [20, 20], [30, 20], [40, 20], [50, 20], [60, 16]]
"""Of the ages that the stand-in's faker makes up."""
LINEAGE = [
    ("gold.age_groups", "gold.dp_people_by_age"),
    ("silver.people", "gold.age_groups"),
    ("bronze/users", "silver.people"),
    ("source:people", "bronze/users"),
]


@pytest.fixture(scope="module")
def owned(
    seaweedfs: SeaweedFs, airbyte: AirbyteServer, trino: Trino, nessie: Nessie
) -> dict[str, str]:
    """What the reader says once."""
    return {
        "IMAGE_REPOSITORY": IMAGE,
        "TAG": "1.2",
        "REGISTRY_USERNAME": "builder",
        "REGISTRY_PASSWORD": PASSWORD,
        "S3_BUCKET": seaweedfs.s3.bucket,
        "S3_ENDPOINT": seaweedfs.s3.endpoint or "",
        "AWS_REGION": seaweedfs.s3.region,
        "AWS_ACCESS_KEY_ID": seaweedfs.s3.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweedfs.s3.secret_key,
        "AIRBYTE_BASE_URL": airbyte.url,
        "AIRBYTE_CLIENT_ID": CLIENT,
        "AIRBYTE_CLIENT_SECRET": SECRET,
        "TRINO_HOST": "127.0.0.1",
        "TRINO_PORT": str(trino.port),
        "NESSIE_URI": nessie.uri,
        "LOCAL_PORT": str(free_port()),
    }


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Bin:
    found = Bin(tmp_path_factory.mktemp("programs") / "bin")
    found.add("docker", "cat >/dev/null")
    for program in (binaries("kubectl") / "kubectl", tool("helm")):
        found.add(program.name, f'exec {program} "$@"')
    return found


def filled_in(said: Block, owned: Mapping[str, str]) -> Block:
    """The one block that is not copied as it stands."""
    assert set(EXPORT.findall(said.commands)) == set(owned)
    commands = EXPORT.sub(lambda line: f"export {line[1]}={owned[line[1]]}", said.commands)
    return replace(said, commands=commands)


def test_copied_commands_lead_from_nothing_to_a_data_product(
    admin: Path,
    node: Node,
    operator: StandInOperator,
    trino: Trino,
    owned: dict[str, str],
    programs: Bin,
    tmp_path: Path,
) -> None:
    for name in TREE:
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    first, *rest = [block for document in COPIED for block in blocks(document)]
    way = [block for block in rest if block.section == WAY]
    # What else asks the API or is a program of the clone, in the same shell. What the other
    # chapters do to the cluster is asked for in tests/integration/chart.
    later = [b for b in rest if b.section != WAY and not CLUSTER.search(b.commands)]
    environment = {
        "PATH": f"{programs.folder}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(admin),
        "LC_ALL": "C.UTF-8",
    }

    try:
        printed = told([filled_in(first, owned), *way, *later], tmp_path, environment, SECONDS)
    except BaseException:
        print(node.logs())
        raise

    assert untrue([first, *way, *later], printed) == []
    assert printed.count("succeeded\n") == 2, "the sync, and the application of Spark"
    assert printed.count("completed\n") == 1, "the model of gold"
    assert list(operator.written.values()) == [["SUBMITTED", "RUNNING", "SUCCEEDING", "COMPLETED"]]
    images = (f"{IMAGE}:1.2", "registry.example.com/spark-custom:1.2")
    assert [call for call in programs.called if call.startswith("docker ")] == [
        f"docker build -t {images[0]} .",
        f"docker build -f spark.Dockerfile -t {images[1]} .",
        "docker login --username builder --password-stdin registry.example.com",
        *(f"docker push {image}" for image in images),
    ]
    pulled_by = json.loads(kubectl(admin, "get", "-n", SPARK, "serviceaccount/spark-sa", "-o=json"))
    assert pulled_by["imagePullSecrets"] == [{"name": "ecr-credentials"}]
    kubectl(admin, "get", "-n", SPARK, "secret/ecr-credentials")
    rows = trino.execute("SELECT decade, people FROM iceberg.gold.dp_people_by_age ORDER BY decade")
    assert rows == DECADES
    lineage = json.loads(printed[len(way)])
    assert [(edge["from"], edge["to"]) for edge in lineage["edges"]] == LINEAGE
    assert all(edge["run_id"] for edge in lineage["edges"])
    said = "".join(printed) + (tmp_path / "shell.err").read_text() + node.logs()
    secrets = (SECRET, PASSWORD, owned["AWS_SECRET_ACCESS_KEY"])
    assert [secret for secret in secrets if secret in said + "".join(programs.called)] == []
