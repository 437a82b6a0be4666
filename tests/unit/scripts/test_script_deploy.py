"""script/deploy-production.sh with stand-ins for docker, kubectl, helm, aws and the scripts that it
calls; the chart's integration tests run it on a real API server."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.harnesses.scripts import SCRIPTS, Bin, ScriptResult, run

KEY_ID, SECRET_KEY, PASSWORD = "KEY-ID", "s3cr3t-of-the-lake", 'registry"pass\\word'
SECRETS = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
JOB = """
          env:
            - name: SPARK_NAMESPACE
              value: "spark"
            - name: S3_SECRET_NAME
              value: "lake-keys"
            - name: TRINO_HOST
              value: "trino.example.com"
            - name: TRINO_PORT
              value: "8443"
            - name: AWS_ACCESS_KEY_ID
              valueFrom:
                secretKeyRef:
                  key: AWS_ACCESS_KEY_ID
            - name: S3_BUCKET
              value: "lake"
"""
CHART = (
    "asgard ./helmchart -n asgard --set s3Bucket=lake --set image.repository=registry.example.com"
    "/asgard --set-string image.tag=1.2 "
    "--set-string config.sparkImage=registry.example.com/spark-custom:1.2"
)
GET_SECRET = "--ignore-not-found -o jsonpath={.metadata.resourceVersion}"


class Tree:
    """Copy the script into a separate tree, with stand-ins for the scripts that it calls."""

    def __init__(self, folder: Path) -> None:
        self.script = folder / "tree" / "script" / "deploy-production.sh"
        self.script.parent.mkdir(parents=True)
        shutil.copy(SCRIPTS / self.script.name, self.script)
        self.bin = Bin(folder / "bin")
        self.applied = folder / "applied"
        self.state = folder / "state"
        self.state.mkdir()
        for name in ("create-schemas.sh", "production-test-dbt-api.sh"):
            self.bin.add(name, f"env >{folder}/{name}.env")
            shutil.copy(self.bin.folder / name, self.script.parent / name)
        self.environment = folder / "create-schemas.sh.env"
        self.bin.add("docker", f"cat >>{folder}/docker.stdin")
        self.docker_stdin = folder / "docker.stdin"
        self.bin.add("aws", "printf %s token-of-ecr")
        self.bin.add("helm", f"[[ $1 == template ]] && cat <<'X'\n{JOB}\nX\nexit 0")
        # Namespaces exist once they are created. `state` has other answers, by name.
        self.bin.add(
            "kubectl",
            f"""case "$1 $2" in
              "get namespace") [[ -e {self.state}/ns-$3 ]] ;;
              "create namespace") touch {self.state}/ns-$3 ;;
              "get secret") cat {self.state}/secret-$5 2>/dev/null || true ;;
              "get deployment") cat {self.state}/deployment 2>/dev/null || true ;;
              apply*) tr '\\n' ' ' >>{self.applied}; echo >>{self.applied} ;;
            esac""",
        )

    async def deploy(self, *arguments: str, **environment: str) -> ScriptResult:
        given = ["--bucket", "lake", "--image", "registry.example.com/asgard", "--tag", "1.2"]
        return await run(self.script, *given, *arguments, bin_=self.bin, **environment)

    def secrets(self) -> list[dict[str, Any]]:
        manifests = [line for line in self.applied.read_text().splitlines() if line[:1] == "{"]
        return [json.loads(line) for line in manifests]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


async def test_all_steps_run_in_order(tree: Tree) -> None:
    result = await tree.deploy("--set", "replicaCount=3", **SECRETS)

    assert result.code == 0, result.out + result.err
    chart = f"{CHART} --set replicaCount=3"
    secret = "apply --server-side --force-conflicts --field-manager=asgard-deploy -f -"
    assert tree.bin.called == [
        "kubectl config current-context",
        f"helm template {chart} --set schemasJob.enabled=true -s templates/schemas-job.yaml",
        "docker build -t registry.example.com/asgard:1.2 .",
        "docker build -f spark.Dockerfile -t registry.example.com/spark-custom:1.2 .",
        "docker push registry.example.com/asgard:1.2",
        "docker push registry.example.com/spark-custom:1.2",
        "kubectl get namespace asgard",
        "kubectl create namespace asgard",
        "kubectl get namespace spark",
        "kubectl create namespace spark",
        f"kubectl get secret lake-keys -n asgard {GET_SECRET}",
        f"kubectl {secret}",
        f"kubectl get secret lake-keys -n spark {GET_SECRET}",
        f"kubectl {secret}",
        f"helm template {chart} --set sparkRbac.create=true -s templates/spark-rbac.yaml",
        "kubectl apply -f -",
        "create-schemas.sh ",
        "kubectl get deployment asgard-app -n asgard --ignore-not-found "
        "-o jsonpath={.spec.template.spec.containers[0].image}",
        f"helm upgrade --install {chart} --wait --timeout 10m",
        "kubectl rollout status deployment asgard-app -n asgard --timeout=10m",
        "production-test-dbt-api.sh --namespace asgard",
    ]
    assert "registry.example.com/asgard:1.2 is deployed." in result.out


async def test_the_secrets_go_over_stdin_into_both_namespaces_and_are_never_shown(
    tree: Tree,
) -> None:
    registry = {"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": PASSWORD}

    result = await tree.deploy(**SECRETS, **registry)

    assert result.code == 0, result.out + result.err
    assert "docker login --username me --password-stdin registry.example.com" in tree.bin.called
    assert tree.docker_stdin.read_text() == PASSWORD
    lake, spark, pull, spark_pull = tree.secrets()
    for found, namespace in ((lake, "asgard"), (spark, "spark")):
        assert found["metadata"] == {"name": "lake-keys", "namespace": namespace}
        assert {k: base64.b64decode(v).decode() for k, v in found["data"].items()} == SECRETS
    assert (pull["metadata"]["name"], pull["type"]) == (
        "ecr-credentials",
        "kubernetes.io/dockerconfigjson",
    )
    assert pull["metadata"]["namespace"] == "asgard"
    assert spark_pull == {**pull, "metadata": {**pull["metadata"], "namespace": "spark"}}
    config = json.loads(base64.b64decode(pull["data"][".dockerconfigjson"]))
    login = base64.b64decode(config["auths"]["registry.example.com"]["auth"]).decode()
    assert login == f"me:{PASSWORD}"
    seen = result.out + result.err + "".join(tree.bin.called)
    for text in (KEY_ID, SECRET_KEY, PASSWORD):
        assert text not in seen
        assert base64.b64encode(text.encode()).decode() not in seen


async def test_the_password_of_an_ecr_comes_from_aws(tree: Tree) -> None:
    registry = "1.dkr.ecr.eu-north-1.amazonaws.com"
    result = await tree.deploy("--image", f"{registry}/asgard", **SECRETS)
    assert result.code == 0, result.out + result.err
    assert "aws ecr get-login-password --region eu-north-1" in tree.bin.called
    assert f"docker login --username AWS --password-stdin {registry}" in tree.bin.called
    assert tree.docker_stdin.read_text() == "token-of-ecr"
    assert "token-of-ecr" not in result.out + result.err + "".join(tree.bin.called)


async def test_a_dry_run_shows_the_steps_and_calls_nothing(tree: Tree) -> None:
    result = await tree.deploy(
        "--dry-run", REGISTRY_USERNAME="me", REGISTRY_PASSWORD="pw", **SECRETS
    )

    assert (result.code, result.err) == (0, "")
    assert tree.bin.called == []
    assert not tree.applied.exists()
    planned = [line.split()[1:3] for line in result.out.splitlines() if line.startswith("  $ ")]
    assert planned == [
        ["helm", "template"],
        ["docker", "build"],
        ["docker", "build"],
        ["docker", "login"],
        ["docker", "push"],
        ["docker", "push"],
        ["kubectl", "create"],
        ["kubectl", "create"],
        ["kubectl", "apply"],
        ["kubectl", "apply"],
        ["kubectl", "apply"],
        ["kubectl", "apply"],
        ["helm", "template"],
        ["./script/create-schemas.sh"],
        ["helm", "upgrade"],
        ["kubectl", "rollout"],
        ["./script/production-test-dbt-api.sh", "--namespace"],
    ]
    assert SECRET_KEY not in result.out


async def test_the_schemas_are_created_where_the_values_say(tree: Tree) -> None:
    result = await tree.deploy(**SECRETS, TRINO_HOST="elsewhere", TRINO_PASSWORD="of-trino")
    assert result.code == 0, result.err
    environment = tree.environment.read_text().splitlines()
    for line in ("TRINO_HOST=trino.example.com", "TRINO_PORT=8443", "TRINO_PASSWORD=of-trino"):
        assert line in environment
    assert "of-trino" not in result.out + "".join(tree.bin.called)


async def test_steps_can_be_skipped(tree: Tree) -> None:
    steps = ("build", "push", "secrets", "spark-account", "schemas", "smoke-test")
    result = await tree.deploy(*(word for step in steps for word in ("--without", step)))
    assert result.code == 0, result.out + result.err
    called = [call.split()[0:2] for call in tree.bin.called]
    assert called == [
        ["kubectl", "config"],
        ["helm", "template"],
        *[["kubectl", "get"], ["kubectl", "create"]] * 2,
        ["kubectl", "get"],
        ["helm", "upgrade"],
        ["kubectl", "rollout"],
    ]


async def test_without_credentials_the_secret_must_exist(tree: Tree) -> None:
    result = await tree.deploy()
    assert result.code == 1
    assert "asgard has no Secret lake-keys: set AWS_ACCESS_KEY_ID" in result.err
    assert not [call for call in tree.bin.called if "upgrade" in call]

    (tree.state / "secret-asgard").write_text("7")
    (tree.state / "secret-spark").write_text("8")
    again = await tree.deploy()
    assert again.code == 0, again.err
    assert "kubectl rollout restart" not in "".join(tree.bin.called)


async def test_pods_are_restarted_if_the_tag_has_another_image(tree: Tree) -> None:
    (tree.state / "deployment").write_text("registry.example.com/asgard:1.2")
    result = await tree.deploy(**SECRETS)
    assert result.code == 0, result.err
    assert "kubectl rollout restart deployment asgard-app -n asgard" in tree.bin.called


@pytest.mark.parametrize(
    ("program", "said_before", "never"),
    [("docker", "Failed: Build", "kubectl create"), ("helm", "chart refuses", "docker")],
)
async def test_a_failed_step_is_reported_and_ends_the_script(
    tree: Tree, program: str, said_before: str, never: str
) -> None:
    tree.bin.add(program, "echo broken >&2; exit 3")
    result = await tree.deploy(**SECRETS)
    assert result.code == 1
    assert said_before in result.err
    assert "run the same command again" in result.err
    assert not [call for call in tree.bin.called if call.startswith(never)]


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["--nonsense"], {}, "Unknown option --nonsense"),
        (["--tag"], {}, "--tag has no value"),
        (["--without", "helm"], {}, "no step helm"),
        (["--image", "asgard"], {}, "does not name a registry"),
        ([], {"AWS_ACCESS_KEY_ID": "a"}, "belong together"),
        ([], {"REGISTRY_USERNAME": "a"}, "belong together"),
    ],
)
async def test_wrong_usage_is_reported_before_any_call(
    tree: Tree, arguments: list[str], environment: dict[str, str], expected: str
) -> None:
    result = await tree.deploy(*arguments, **environment)
    assert (result.code, result.out) == (2, "")
    assert expected in result.err
    assert tree.bin.called == []


async def test_missing_programs_and_options_are_named(tree: Tree) -> None:
    result = await run(tree.script, bin_=tree.bin)
    assert result.code == 2
    assert "--bucket" in result.err
    helped = await run(tree.script, "--help", bin_=tree.bin)
    assert (helped.code, helped.err) == (0, "")
    assert helped.out.splitlines()[-1].startswith("Exit: ")
