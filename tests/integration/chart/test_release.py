"""The Deployment Guide and what follows it, command by command, on a real API server."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.data_transformation.kubernetes.api import KubernetesApi
from app.data_transformation.kubernetes.permissions import identity, missing_rights
from tests.documents import ON_CLUSTER
from tests.integration.chart.documented import run_commands, run_document
from tests.integration.chart.standin import Nodes
from tests.integration.chart.tools import CHART, ROOT, helm, kubectl, refusal, tool
from tests.integration.servers.kube import KubeServer, binaries

DEPLOY = (
    *("upgrade", "--install", "asgard", CHART, "-n", "asgard"),
    *("--set", "image.repository=registry.example.com/asgard"),
    *("--set", "image.tag=latest", "--set", "service.type=LoadBalancer", "--wait"),
    *("--timeout", "120s"),
)
"""As the documentation has it. The one value it lacks is `s3Bucket`."""
FORBIDDEN = (
    ("get", "secrets", "asgard"),
    ("get", "secrets", "spark-operator"),
    ("create", "pods", "spark-operator"),
    ("delete", "pods", "spark-operator"),
    ("create", "pods/exec", "spark-operator"),
    ("patch", "sparkapplications.sparkoperator.k8s.io", "spark-operator"),
    ("create", "sparkapplications.sparkoperator.k8s.io", "asgard"),
    ("list", "pods", "asgard"),
    ("get", "configmaps", "spark-operator"),
    ("update", "deployments.apps", "asgard"),
    ("create", "rolebindings.rbac.authorization.k8s.io", "spark-operator"),
    ("list", "services", "data-platform"),
)
SPARK_ACCOUNT = {"kind": "ServiceAccount", "name": "spark-sa", "namespace": "spark-operator"}
DOCUMENTED_OBJECTS: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "spark-sa", "namespace": "spark-operator"},
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "spark-role-binding", "namespace": "spark-operator"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "edit",
        },
        "subjects": [SPARK_ACCOUNT],
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "asgard-network-policy", "namespace": "asgard"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "asgard-app"}},
            "ingress": [
                {"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": 8000}]}
            ],
            "egress": [
                {
                    "to": [
                        {"namespaceSelector": {"matchLabels": {"name": name}}}
                        for name in ("data-platform", "airbyte", "spark-operator")
                    ]
                }
            ],
        },
    },
]
"""As the documentation has people apply them."""


@pytest.fixture(scope="session")
def nodes(kube: KubeServer, controllers: None) -> Iterator[Nodes]:
    nodes = Nodes(kube.client(), "asgard")
    nodes.start()
    yield nodes
    nodes.stop()


@pytest.fixture(scope="session")
def installed(admin: Path, nodes: Nodes) -> Path:
    """Steps 2 to 4 of the guide."""
    names = kubectl(admin, "get", "namespaces", "-o", "name").split()
    if "namespace/asgard" not in names:
        kubectl(admin, "create", "namespace", "asgard")
    kubectl(
        admin,
        *("create", "secret", "generic", "s3-credentials", "-n", "asgard"),
        "--from-literal=AWS_ACCESS_KEY_ID=your-key-id",
        "--from-literal=AWS_SECRET_ACCESS_KEY=your-secret-key",
    )
    kubectl(
        admin,
        *("create", "secret", "docker-registry", "ecr-credentials", "-n", "asgard"),
        *("--docker-server=registry.example.com", "--docker-username=AWS"),
        "--docker-password=token",
    )
    helm(*DEPLOY, "--set", "s3Bucket=lake", kubeconfig=admin)
    return admin


@pytest.fixture(scope="session")
def own(kube: KubeServer, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig with the application's own token."""
    token = kubectl(installed, "create", "token", "asgard", "-n", "asgard").strip()
    config = yaml.safe_load(installed.read_text())
    config["users"][0]["user"] = {"token": token}
    path = tmp_path_factory.mktemp("own") / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def get(config: Path, *what: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl(config, "get", *what, "-o", "json"))
    return found


def versions(config: Path) -> dict[str, str]:
    kinds = "deployments,services,configmaps,secrets,serviceaccounts,poddisruptionbudgets,ingresses"
    items = get(config, kinds, "-n", "asgard")["items"]
    return {
        f"{i['kind']}/{i['metadata']['name']}": i["metadata"].get(
            "generation", i["metadata"]["resourceVersion"]
        )
        for i in items
    }


def test_without_a_bucket_the_documented_command_says_what_lacks(admin: Path) -> None:
    said = refusal([tool("helm"), *DEPLOY, "--kubeconfig", admin])
    assert "missing property 's3Bucket'" in said


def test_the_guide_leads_to_a_release_that_runs(installed: Path, nodes: Nodes) -> None:
    release = json.loads(helm("list", "-n", "asgard", "-o", "json", kubeconfig=installed))
    assert [(r["name"], r["status"]) for r in release] == [("asgard", "deployed")]
    assert nodes.ran[0].startswith("asgard-schemas-")
    pods = kubectl(installed, "get", "pods", "-n", "asgard", "-l", "app=asgard-app", "-o", "name")
    assert len(pods.split()) == 2
    assert "192.0.2.10" in kubectl(installed, "get", "svc", "-n", "asgard", "asgard-service")
    described = kubectl(installed, "describe", "svc", "-n", "asgard", "asgard-service")
    assert "80/TCP" in described
    assert "8000/TCP" in described
    assert "asgard-config" in kubectl(installed, "get", "configmap", "-n", "asgard")


def test_helm_test_passes_on_it(installed: Path, nodes: Nodes) -> None:
    said = helm("test", "asgard", "-n", "asgard", kubeconfig=installed)
    assert "Phase:          Succeeded" in said


def test_the_first_key_is_made_once(installed: Path) -> None:
    first = get(installed, "secret", "api-secrets", "-n", "asgard")["data"]["api-key"]
    assert len(base64.b64decode(first)) == 48

    helm(*DEPLOY, "--set", "s3Bucket=lake", "--set", "config.logLevel=DEBUG", kubeconfig=installed)

    assert get(installed, "secret", "api-secrets", "-n", "asgard")["data"]["api-key"] == first


def test_the_notes_tell_how_to_read_it(installed: Path) -> None:
    notes = helm("get", "notes", "asgard", "-n", "asgard", kubeconfig=installed)
    command = next(line.strip() for line in notes.splitlines() if "get secret" in line)
    _, _, template = command.partition("go-template=")
    read = kubectl(
        installed,
        *("get", "secret", "api-secrets", "-n", "asgard"),
        f"-o=go-template={template.strip(chr(39))}",
    )
    stored = get(installed, "secret", "api-secrets", "-n", "asgard")["data"]["api-key"]
    assert read.encode() == base64.b64decode(stored)


def test_applying_the_ingress_afterwards_only_adds_it(installed: Path) -> None:
    before = versions(installed)

    said = kubectl(installed, "apply", "-f", str(ROOT / "k8s" / "production-deployment.yaml"))

    assert said.strip() == "ingress.networking.k8s.io/asgard-ingress created"
    after = versions(installed)
    assert after.pop("Ingress/asgard-ingress")
    assert after == before
    assert "asgard-ingress" in kubectl(installed, "get", "ingress", "-n", "asgard")


def test_a_changed_setting_restarts_the_pods(installed: Path) -> None:
    def checksum() -> str:
        found = get(installed, "deployment", "asgard-app", "-n", "asgard")
        annotations: dict[str, str] = found["spec"]["template"]["metadata"]["annotations"]
        return annotations["checksum/config"]

    before = checksum()
    helm(*DEPLOY, "--set", "s3Bucket=lake", "--set", "config.logLevel=INFO", kubeconfig=installed)
    assert checksum() != before


def test_what_people_make_by_hand_goes_beside_it(installed: Path) -> None:
    kubectl(
        installed,
        *("autoscale", "deployment", "asgard-app", "-n", "asgard"),
        *("--cpu-percent=70", "--min=2", "--max=10"),
    )
    kubectl(installed, "scale", "deployment", "asgard-app", "-n", "asgard", "--replicas=5")
    kubectl(installed, "create", "serviceaccount", "asgard-sa", "-n", "asgard")
    kubectl(
        installed,
        *("create", "rolebinding", "asgard-role", "--serviceaccount=asgard:asgard-sa"),
        *("--clusterrole=edit", "-n", "asgard"),
    )
    kubectl(installed, "apply", "-f", str(ROOT / "k8s" / "spark-rbac.yaml"))

    helm(*DEPLOY, "--set", "s3Bucket=lake", kubeconfig=installed)
    helm(
        *(*DEPLOY, "--set", "s3Bucket=lake", "--set", "serviceAccount.name=asgard-sa"),
        kubeconfig=installed,
    )

    deployment = get(installed, "deployment", "asgard-app", "-n", "asgard")
    assert deployment["spec"]["replicas"] == 5
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == "asgard-sa"
    account = get(installed, "serviceaccount", "asgard-sa", "-n", "asgard")
    assert "meta.helm.sh/release-name" not in account["metadata"].get("annotations", {})
    helm(*DEPLOY, "--set", "s3Bucket=lake", kubeconfig=installed)


def test_new_credentials_are_picked_up_by_a_restart(installed: Path) -> None:
    secret = kubectl(
        installed,
        *("create", "secret", "generic", "s3-credentials", "-n", "asgard"),
        "--from-literal=AWS_ACCESS_KEY_ID=new-key",
        "--from-literal=AWS_SECRET_ACCESS_KEY=new-secret",
        *("--dry-run=client", "-o", "yaml"),
    )
    assert "configured" in kubectl(installed, "apply", "-f", "-", stdin=secret)
    said = kubectl(installed, "rollout", "restart", "deployment", "asgard-app", "-n", "asgard")
    assert said.strip() == "deployment.apps/asgard-app restarted"


def test_a_key_that_somebody_made_is_used_and_left_alone(admin: Path, installed: Path) -> None:
    kubectl(admin, "create", "namespace", "second")
    kubectl(
        admin,
        *("create", "secret", "generic", "api-secrets", "-n", "second"),
        "--from-literal=api-key=your-secret-key",
    )

    install = ("upgrade", "--install", "asgard", CHART, "-n", "second", "--no-hooks")
    helm(*install, "--set", "s3Bucket=lake", kubeconfig=admin)
    helm("uninstall", "asgard", "-n", "second", kubeconfig=admin)

    key = get(admin, "secret", "api-secrets", "-n", "second")["data"]["api-key"]
    assert base64.b64decode(key) == b"your-secret-key"


async def test_the_application_may_do_all_that_it_does(own: Path) -> None:
    from kubernetes import config

    client = config.new_client_from_config(str(own))
    assert identity(client) == "system:serviceaccount:asgard:asgard"
    assert missing_rights(client, "spark-operator") == []

    api = KubernetesApi("spark-operator", in_cluster=False, kubeconfig=own)
    assert "system:serviceaccount:asgard:asgard" in await api.probe()
    name = "sql-exec-0123456789ab"
    made = await api.create(
        {
            "apiVersion": "sparkoperator.k8s.io/v1beta2",
            "kind": "SparkApplication",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "asgard"}},
            "spec": {
                "type": "Python",
                "mode": "cluster",
                "sparkVersion": "3.5.9",
                "mainApplicationFile": "local:///opt/asgard/job.py",
                "driver": {},
                "executor": {},
            },
        }
    )
    assert made["metadata"]["name"] == name
    assert [item["metadata"]["name"] for item in api.list_applications()["items"]] == [name]
    assert await api.events(name) == []
    await api.delete(name)
    api.close()


@pytest.mark.parametrize(("verb", "resource", "namespace"), FORBIDDEN)
def test_the_application_may_do_nothing_else(
    own: Path, verb: str, resource: str, namespace: str
) -> None:
    command = [binaries("kubectl") / "kubectl", "--kubeconfig", own, "auth", "can-i"]
    said = refusal([*command, verb, resource, "-n", namespace])
    assert said.splitlines()[-1] == "no"


@pytest.mark.parametrize(
    "documented",
    [
        "create secret generic api-secrets --from-literal=api-key=your-secret-key",
        "run -n asgard create-silver --image=curlimages/curl --restart=Never",
    ],
)
def test_a_documented_command_is_taken_as_written(installed: Path, documented: str) -> None:
    assert "(server dry run)" in kubectl(installed, *documented.split(), "--dry-run=server")


@pytest.mark.parametrize("documented", DOCUMENTED_OBJECTS, ids=lambda found: found["kind"])
def test_a_documented_object_can_be_applied_beside_the_release(
    installed: Path, documented: dict[str, Any]
) -> None:
    name = documented["metadata"]["name"]
    said = kubectl(installed, "apply", "--dry-run=server", "-f", "-", stdin=json.dumps(documented))
    assert name in said
    assert re.search(r"(created|configured|unchanged) \(server dry run\)$", said.strip())


@pytest.mark.parametrize("document", ON_CLUSTER)
def test_every_command_of_a_document_is_taken(
    installed: Path, document: str, tmp_path: Path
) -> None:
    told = run_document(installed, document, tmp_path)
    assert told.returncode == 0, told.stderr
    assert "(server dry run)" in told.stdout


def test_a_command_that_is_not_taken_is_found(installed: Path, tmp_path: Path) -> None:
    commands = "kubectl autoscale deployment asgard-ap -n asgard --min=2 --max=10"
    assert "asgard-ap" in run_commands(installed, commands, tmp_path).stderr
    commands = "docker build -t a/b:1 .\ndocker push a/c:1"
    assert run_commands(installed, commands, tmp_path).returncode != 0
    commands = "kubectl exec -n asgard deploy/asgard -- asgard doctor"
    assert run_commands(installed, commands, tmp_path).returncode != 0


def test_nothing_is_left_after_uninstalling(installed: Path, own: Path) -> None:
    helm("uninstall", "asgard", "-n", "asgard", "--wait", kubeconfig=installed)
    kinds = "deployments,services,configmaps,roles,rolebindings,poddisruptionbudgets"
    labelled = ("-A", "-l", "app.kubernetes.io/instance=asgard", "-o", "name")
    assert kubectl(installed, "get", kinds, *labelled) == ""
