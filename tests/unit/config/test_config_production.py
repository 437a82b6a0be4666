"""ENVIRONMENT=production refuses to start with a missing setting, a placeholder or an open API."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import ConfigurationError, Settings, check_choice
from app.config.reference import variables
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
PLACEHOLDERS = "is a placeholder or a well-known default"
COMPLETE = {
    "environment": "production",
    "auth_mode": "api_key",
    "airbyte_base_url": "http://airbyte.example.com",
    "spark_image": "registry.example.com/spark",
    "trino_host": "trino.example.com",
    "s3_bucket": "lake",
    "nessie_uri": "http://nessie.example.com/api/v1",
}
KEYS = {"aws_access_key_id": "AKIA5J2NQXW7RT4M", "aws_secret_access_key": "p0Ft2-vQ9_r7Lm3X"}
SECRET = "aG9wZWZ1bGx5LW5vLWxvZy1oYXMtdGhpcw"


def refusal(**given: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check_choice(Settings(_env_file=None, **{**COMPLETE, **given}))  # type: ignore[arg-type]
    return str(caught.value)


def serve(command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the real command with only these variables. It must not start."""
    name, *arguments = command
    return subprocess.run(
        [Path(sys.executable).with_name(name), *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_complete_settings_start() -> None:
    check_choice(Settings(_env_file=None, **COMPLETE, **KEYS))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aws_secret_access_key", "your-secret-key"),
        ("aws_secret_access_key", "changeme"),
        ("aws_secret_access_key", "minioadmin"),
        ("aws_secret_access_key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("aws_access_key_id", "your-key-id"),
        ("aws_access_key_id", "AKIAIOSFODNN7EXAMPLE"),
        ("aws_access_key_id", "minioadmin"),
        ("airbyte_password", "password"),
        ("airbyte_password", "<password>"),
        ("airbyte_client_secret", "xxxxxxxxxxxx"),
        ("trino_password", "Admin"),
        ("trino_jwt_token", "${TRINO_TOKEN}"),
        ("iceberg_rest_token", "change_me_please"),
        ("iceberg_rest_credential", "client:secret"),
        ("iceberg_rest_credential", "root:s3cr3t"),
        ("airbyte_base_url", "http://airbyte:password@airbyte.example.com"),
        ("s3_bucket", "your-data-lake-bucket"),
        ("spark_image", "your-registry/spark-custom:latest"),
        ("trino_host", "your-trino-host"),
    ],
)
def test_a_placeholder_is_refused(name: str, value: str) -> None:
    message = refusal(**{name: value})
    assert f"{name.upper()} {PLACEHOLDERS}" in message
    assert value not in message


def test_development_accepts_placeholders() -> None:
    pair = {"aws_access_key_id": "minioadmin", "aws_secret_access_key": "minioadmin"}
    check_choice(Settings(_env_file=None, **pair))  # type: ignore[arg-type]


def test_every_credential_that_the_example_shows_is_refused() -> None:
    """Uncomment each line and change nothing."""
    lines = re.findall(r"^# ([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    shown = {name.lower(): value for name, value in lines if value}
    secret = {variable.name for variable in variables() if variable.is_secret}
    assert {name.upper() for name in shown} >= secret
    message = refusal(**{**shown, "environment": "production"})
    refused = {line.split(" ")[1] for line in message.splitlines() if PLACEHOLDERS in line}
    assert refused == secret | {"AIRBYTE_CLIENT_ID", "AWS_ACCESS_KEY_ID", "S3_BUCKET"}


def test_the_documented_examples_are_refused_unchanged() -> None:
    documented = {
        "spark_image": "your-registry/spark-custom:latest",
        "s3_bucket": "your-data-lake-bucket",
        "aws_access_key_id": "your-key-id",
        "aws_secret_access_key": "your-secret-key",
    }
    message = refusal(**documented)
    assert sorted(re.findall(rf"- (\w+) {PLACEHOLDERS}", message)) == sorted(
        name.upper() for name in documented
    )


@pytest.mark.thorough
def test_the_command_lists_all_problems_and_exits(tmp_path: Path) -> None:
    done = serve(
        ["asgard", "serve", "--port", str(free_port())],
        tmp_path,
        ENVIRONMENT="production",
        TRINO_PORT="tcp://10.0.0.7:8080",
        S3_BUCKET="your-data-lake-bucket",
        AWS_ACCESS_KEY_ID="AKIA5J2NQXW7RT4M",
        AWS_SECRET_ACCESS_KEY=f"{SECRET}\n",
        TRINO_PASSWORD="changeme",
        RUN_TIMEOUT="1h",
        ASGARD_EMBEDED="sql",
    )
    message = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Asgard cannot start: The settings have 11 problems:" in message
    assert re.findall(r"^- (\w+)", message, re.MULTILINE) == [
        *("TRINO_PORT", "AWS_SECRET_ACCESS_KEY", "RUN_TIMEOUT", "AIRBYTE_BASE_URL"),
        *("SPARK_IMAGE", "TRINO_HOST", "NESSIE_URI", "AUTH_MODE", "TRINO_PASSWORD", "S3_BUCKET"),
        "ASGARD_EMBEDED",
    ]
    assert "Did you mean ASGARD_EMBEDDED?" in message
    assert "Give it in seconds, without the unit: 3600." in message
    assert SECRET not in message
    assert "changeme" not in message
    assert "Traceback" not in message


@pytest.mark.thorough
def test_uvicorn_reports_the_same_error(tmp_path: Path) -> None:
    message = []
    for command in (["asgard", "serve"], ["uvicorn", "app.main:app"]):
        done = serve([*command, "--port", str(free_port())], tmp_path, DBT_WORKERS="many")
        assert done.returncode == 1
        message.append(done.stderr.strip())
    assert set(message) == {
        "Asgard cannot start: DBT_WORKERS=many is invalid. "
        "Expected a whole number from 1 to 16, for example 2."
    }


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        ("your-secret-key", 0o600, "it contains a placeholder from an example"),
        ("changeme-changeme-changeme", 0o600, "it contains a placeholder from an example"),
        ("short", 0o600, "expected at least 16 characters"),
        (SECRET, 0o622, "is writable by other users: run chmod 600 on it"),
        (None, 0, "No such file or directory"),
    ],
)
def test_an_unusable_key_file_prevents_the_start(
    tmp_path: Path, content: str | None, mode: int, expected: str
) -> None:
    file = tmp_path / "api-key"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    command = ["asgard", "serve", "--port", str(free_port())]
    done = serve(command, tmp_path, AUTH_MODE="api_key", AUTH_API_KEY_FILE=str(file))
    assert done.returncode == 1
    assert done.stderr.startswith(f"Asgard cannot start: AUTH_API_KEY_FILE: {file}")
    assert expected in done.stderr
    assert "openssl rand -hex 24" in done.stderr
    assert SECRET not in done.stderr
    assert "Traceback" not in done.stderr
