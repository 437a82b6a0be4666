"""What the image holds: complete, read-only, run by another user, and right about its settings."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from app.data_transformation.kubernetes.manifest import JOB_SCRIPT
from tests.integration.chart.image import Image, build
from tests.integration.chart.tools import ROOT
from tests.integration.servers.seaweedfs import SeaweedFs
from tests.ports import free_port

CHART_GRACE = yaml.safe_load((ROOT / "helmchart" / "values.yaml").read_text())
START_SECONDS = 60


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """Not under pytest's own folder, which no other user may enter."""
    home = Path(tempfile.mkdtemp(prefix="asgard-image-"))
    home.chmod(0o755)
    try:
        yield build(home)
    finally:
        shutil.rmtree(home)


def test_it_has_what_dbt_parsed(image: Image) -> None:
    [kept] = image.prefix.glob(
        "venv/lib/python3*/site-packages/app/warehouse/dbt/__pycache__/*.msgpack"
    )
    assert kept.name.startswith("trino-")


@pytest.fixture
def production(image: Image, seaweedfs: SeaweedFs) -> dict[str, str]:
    """A lake that is there, and three engines at addresses where nobody listens."""
    kubeconfig = image.home / "tmp" / "kubeconfig"
    cluster = {"server": f"https://127.0.0.1:{free_port()}"}
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "it", "cluster": cluster}],
                "users": [{"name": "it", "user": {"token": "none"}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                "current-context": "it",
            }
        )
    )
    kubeconfig.chmod(0o644)
    s3 = seaweedfs.s3
    return image.environment(
        ENVIRONMENT="production",
        AUTH_MODE="none",
        S3_BUCKET=s3.bucket,
        S3_ENDPOINT=str(s3.endpoint),
        AWS_ACCESS_KEY_ID=str(s3.access_key),
        AWS_SECRET_ACCESS_KEY=str(s3.secret_key),
        ICEBERG_REST_URI=seaweedfs.rest_uri,
        ICEBERG_REST_WAREHOUSE=seaweedfs.warehouse,
        ICEBERG_REST_CREDENTIAL=seaweedfs.credential,
        AIRBYTE_BASE_URL=f"http://127.0.0.1:{free_port()}/api/public/v1",
        TRINO_HOST="127.0.0.1",
        TRINO_PORT=str(free_port()),
        SPARK_IMAGE="registry.example.com/spark-custom:latest",
        KUBECONFIG=str(kubeconfig),
    )


def run(image: Image, environment: dict[str, str], *command: str) -> tuple[int, str]:
    done = subprocess.run(
        image.command(*command), env=environment, cwd="/", capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_none_of_the_embedded_engines_is_in_it(image: Image) -> None:
    names = {path.name for path in (image.prefix / "venv" / "bin").iterdir()}
    assert {"asgard", "uvicorn", "dbt"} <= names
    assert "weed" not in names
    there = run(image, image.environment(), "python", "-c", "import duckdb")
    assert there[0] == 1
    assert "No module named 'duckdb'" in there[1]


def test_nothing_in_it_can_be_changed_by_who_runs_it(image: Image) -> None:
    target = image.prefix / "venv" / "bin" / "asgard"
    code, said = run(image, image.environment(), "python", "-c", f"open({str(target)!r}, 'a')")
    assert code == 1
    assert "PermissionError" in said


@pytest.mark.parametrize("command", [("asgard", "serve"), ("asgard", "schemas")])
def test_without_settings_it_refuses_to_start_and_lists_them(
    image: Image, command: tuple[str, ...]
) -> None:
    environment = image.environment(ENVIRONMENT="production", AUTH_MODE="none")

    code, said = run(image, environment, *command)

    assert code == 1
    for name in ("AIRBYTE_BASE_URL", "SPARK_IMAGE", "TRINO_HOST", "S3_BUCKET", "NESSIE_URI"):
        assert name in said
    assert "Traceback" not in said


def test_it_makes_the_schemas(image: Image, production: dict[str, str]) -> None:
    code, said = run(image, production, "asgard", "schemas")

    assert (code, said.splitlines()[-1]) == (
        0,
        "Existing schemas: bronze, silver, gold, asgard, asgard_staging.",
    )


def test_it_says_which_part_of_the_lake_fails(image: Image, production: dict[str, str]) -> None:
    wrong = production | {"S3_BUCKET": "no-such-bucket"}

    code, said = run(image, wrong, "asgard", "schemas")

    assert code == 1
    assert said.splitlines()[-1].startswith("The schemas cannot be created: S3_BUCKET: ")


def test_it_serves_in_production_and_ends_within_the_grace(
    image: Image, production: dict[str, str]
) -> None:
    port = free_port()
    log = (image.home / "server.log").open("wb")
    server = subprocess.Popen(
        image.command("asgard", "serve", "--port", str(port)),
        env=production,
        cwd="/",
        stdout=log,
        stderr=log,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _await_health(server, url, image.home / "server.log")
        ready = httpx.get(f"{url}/health/ready", timeout=10)
        found = {name: probe["status"] for name, probe in ready.json()["dependencies"].items()}
        stopping = time.monotonic()
        server.send_signal(signal.SIGTERM)
        server.wait(CHART_GRACE["terminationGracePeriodSeconds"] - CHART_GRACE["preStopSeconds"])
        took = time.monotonic() - stopping
    finally:
        server.kill()
        server.wait()
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert found == {
        "s3": "ok",
        "catalog": "ok",
        "airbyte": "unreachable",
        "trino": "unreachable",
        "kubernetes": "unreachable",
    }
    assert server.returncode in (0, -signal.SIGTERM)
    assert took < 20
    assert (image.home / "dbt" / ".asgard").read_text() == "Written by Asgard.\n"


def _await_health(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=5).json()["status"] == "healthy":
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(log.read_text()[-3000:])


def test_hadolint_and_shellcheck_find_nothing() -> None:
    tools = Path(shutil.which("hadolint") or ROOT / ".venv" / "bin" / "hadolint").parent
    scripts = [*ROOT.glob("script/*.sh"), *ROOT.glob("tests/integration/**/*.sh")]
    for command in (
        [tools / "hadolint", ROOT / "Dockerfile", ROOT / "spark.Dockerfile"],
        [tools / "shellcheck", *scripts],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "")


def test_the_spark_image_has_the_job_where_applications_look_for_it() -> None:
    copied = [
        line.split()[1:]
        for line in (ROOT / "spark.Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "job.py" in line
    ]
    assert copied == [["app/data_transformation/job.py", JOB_SCRIPT.removeprefix("local://")]]


def test_everything_that_the_images_copy_reaches_the_builder() -> None:
    """`.dockerignore` refuses all else."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied: set[str] = set()
    for name in ("Dockerfile", "spark.Dockerfile"):
        for line in (ROOT / name).read_text().splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                copied |= set(line.split()[1:-1])
    uncovered = {n for n in copied if not any(n == a or n.startswith(f"{a}/") for a in allowed)}
    assert uncovered == set()
    assert all((ROOT / name).exists() for name in copied)
