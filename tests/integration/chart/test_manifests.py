"""What the chart gives is what Kubernetes takes, at every value set."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.chart.schemas import write_schemas
from tests.integration.chart.tools import (
    CHART,
    ROOT,
    called,
    helm,
    kubectl,
    refusal,
    template,
    tool,
)
from tests.integration.chart.values import VALUE_SETS
from tests.integration.servers.kube import binaries

SETS = sorted(VALUE_SETS)


@pytest.fixture(scope="session")
def schema_location(openapi: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_schemas(openapi, tmp_path_factory.mktemp("schemas"))


@pytest.fixture(scope="session")
def asgard_namespace(admin: Path) -> Path:
    found = kubectl(admin, "get", "namespaces", "-o", "name").split()
    if "namespace/asgard" not in found:
        kubectl(admin, "create", "namespace", "asgard")
    return admin


def kubeconform(location: str, manifests: str) -> list[str | Path]:
    return [tool("kubeconform"), "-strict", "-summary", "-schema-location", location, "-"]


@pytest.mark.parametrize("name", SETS)
def test_lint_finds_nothing(name: str, value_files: dict[str, Path]) -> None:
    said = helm("lint", "--strict", CHART, "-f", value_files[name])
    assert "1 chart(s) linted, 0 chart(s) failed" in said


@pytest.mark.parametrize("version", ["1.24.0", "1.34.4"])
@pytest.mark.parametrize("name", SETS)
def test_the_objects_fit_the_schemas_of_a_live_server(
    name: str, version: str, value_files: dict[str, Path], schema_location: str
) -> None:
    objects = template("-f", value_files[name], "--kube-version", version)
    rendered = yaml.safe_dump_all(objects)

    said = called(kubeconform(schema_location, rendered), stdin=rendered)

    assert f"{len(objects)} resources found" in said
    assert f"Valid: {len(objects)}, Invalid: 0, Errors: 0, Skipped: 0" in said


def test_a_field_that_does_not_exist_is_found(
    value_files: dict[str, Path], schema_location: str
) -> None:
    objects = template("-f", value_files["least"])
    deployment = next(o for o in objects if o["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = {}
    rendered = yaml.safe_dump(deployment)

    assert "redinessProbe" in refusal(kubeconform(schema_location, rendered), stdin=rendered)


@pytest.mark.parametrize("name", SETS)
def test_a_real_server_takes_them(
    name: str, value_files: dict[str, Path], asgard_namespace: Path
) -> None:
    objects = template("-f", value_files[name], "--kube-version", "1.34.4")

    said = kubectl(
        asgard_namespace,
        *("apply", "--dry-run=server", "--validate=strict", "-f", "-"),
        stdin=yaml.safe_dump_all(objects),
    )

    assert said.count("(server dry run)") == len(objects)


def test_every_pod_fits_the_strictest_pod_security_standard(admin: Path) -> None:
    kubectl(admin, "create", "namespace", "strict")
    enforced = "pod-security.kubernetes.io/enforce=restricted"
    kubectl(admin, "label", "namespace", "strict", enforced)
    pods: dict[str, Any] = {
        o["kind"]: o["spec"] if o["kind"] == "Pod" else o["spec"]["template"]["spec"]
        for o in template("--set", "s3Bucket=lake")
        if o["kind"] in ("Deployment", "Job", "Pod")
    }
    assert len(pods) == 3

    def create(spec: dict[str, Any]) -> list[str | Path]:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asked"}, "spec": spec}
        (admin.parent / "pod.json").write_text(json.dumps(pod))
        asked = ("create", "-n", "strict", "--dry-run=server", "-f", admin.parent / "pod.json")
        return [binaries("kubectl") / "kubectl", "--kubeconfig", admin, *asked]

    for spec in pods.values():
        assert "pod/asked created" in called(create(spec))
    pods["Pod"]["securityContext"].pop("seccompProfile")
    assert "violates PodSecurity" in refusal(create(pods["Pod"]))


def test_the_chart_needs_kubernetes_1_24() -> None:
    command = [tool("helm"), "template", "asgard", CHART, "--set", "s3Bucket=lake"]
    said = refusal([*command, "--kube-version", "1.23.0"])
    assert "chart requires kubeVersion: >=1.24.0-0" in said


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ((), "missing property 's3Bucket'"),
        (("s3Bucket=lake", "config.trinoPort=abc"), "'/config/trinoPort': got string, want"),
        (("s3Bucket=lake", "config.trinHost=x"), "additional properties 'trinHost' not allowed"),
        (("s3Bucket=lake", "auth.mode=open"), "'/auth/mode': value must be one of 'api_key'"),
        (("s3Bucket=lake", "service.type=Public"), "'/service/type': value must be one of"),
        (("s3Bucket=lake", "replicaCount=two"), "'/replicaCount': got string, want integer"),
        (("s3Bucket=Not_A_Bucket",), "'/s3Bucket': 'Not_A_Bucket' does not match pattern"),
        (("s3Bucket=lake", "gateway.enabled=true"), "'/gateway/parentRefs': minItems: got 0"),
        (("s3Bucket=lake", "networkPolicy.s3.cidrs=null"), "'/networkPolicy/s3': missing property"),
        (("s3Bucket=lake", "networkPolicy.s3.ports=null"), "'/networkPolicy/s3': missing property"),
        (("s3Bucket=lake", "networkPolicy.apiServer=null"), "missing property 'apiServer'"),
        (("s3Bucket=lake", "config.dbtWorkers=0"), "'/config/dbtWorkers': minimum: got 0, want 1"),
    ],
)
def test_a_wrong_value_is_refused_by_name(wrong: tuple[str, ...], named: str) -> None:
    sets = [part for value in wrong for part in ("--set", value)]
    said = refusal([tool("helm"), "template", "asgard", CHART, "-n", "asgard", *sets])
    assert named in said


def test_every_template_is_held_by_a_unit_test() -> None:
    suites = [yaml.safe_load(path.read_text()) for path in (CHART / "tests").glob("*_test.yaml")]
    tested = {name for suite in suites for name in suite["templates"]}
    there = {
        str(path.relative_to(CHART / "templates"))
        for path in (CHART / "templates").rglob("*")
        if path.suffix in {".yaml", ".txt"}
    }
    assert tested == there


def test_the_unit_tests_of_the_chart_pass() -> None:
    said = called([tool("helm-unittest"), "--strict", CHART])
    assert re.search(r"Tests: +[1-9][0-9]* passed, [1-9][0-9]* total", said)


def test_a_cluster_without_helm_gets_the_same_objects(asgard_namespace: Path) -> None:
    path = f"{tool('helm').parent}:/usr/bin:/bin"
    script = str(ROOT / "script" / "render-manifests.sh")
    rendered = called(
        ["env", f"PATH={path}", "HOME=/tmp", script, "--all", "--set", "s3Bucket=lake"]
    )

    said = kubectl(asgard_namespace, "apply", "--dry-run=server", "-f", "-", stdin=rendered)

    expected = {(o["kind"], o["metadata"]["name"]) for o in template("--set", "s3Bucket=lake")}
    found = {(o["kind"], o["metadata"]["name"]) for o in yaml.safe_load_all(rendered) if o}
    assert found == {o for o in expected if o[0] not in ("Secret", "Job", "Pod")}
    assert said.count("(server dry run)") == len(found)


def test_the_rendered_manifests_are_what_the_chart_gives() -> None:
    path = f"{tool('helm').parent}:/usr/bin:/bin"
    done = subprocess.run(
        [ROOT / "script" / "render-manifests.sh", "--check"],
        env={"PATH": path, "HOME": "/tmp"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")
