"""script/validate-production-config.sh runs the doctor with production settings."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "script" / "validate-production-config.sh"
SECRET = "dGhpcy1pcy1uby1zZWNyZXQtYXQtYWxs"


def validate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return subprocess.run(
        [SCRIPT, *arguments],
        env={"PATH": path, "HOME": "/nowhere", "COLUMNS": "1000", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_shellcheck_finds_nothing() -> None:
    tool = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([tool, SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert "\nset -euo pipefail\n" in SCRIPT.read_text()


def test_help_describes_the_script() -> None:
    done = validate("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Checks the environment and .env")
    assert "Exit: 0 everything works, 1 a check failed" in done.stdout


def test_an_unknown_argument_is_refused() -> None:
    done = validate("--all")
    assert (done.returncode, done.stderr) == (2, "Unknown argument --all. See --help.\n")


def test_each_missing_setting_has_a_row() -> None:
    done = validate()
    assert done.returncode == 1
    rows = [line.split("│")[1:3] for line in done.stdout.splitlines() if line.startswith("│")]
    assert {name.strip(): result.strip() for name, result in rows} == dict.fromkeys(
        [
            *("AIRBYTE_BASE_URL", "SPARK_IMAGE", "TRINO_HOST", "S3_BUCKET", "AUTH_MODE"),
            "NESSIE_URI, ICEBERG_REST_URI",
        ],
        "failed",
    )


@pytest.mark.parametrize("value", [SECRET, f"{SECRET}\n", "changeme"])
def test_the_output_contains_no_secret(value: str) -> None:
    names = ("AWS_SECRET_ACCESS_KEY", "TRINO_PASSWORD", "AIRBYTE_CLIENT_SECRET")
    done = validate(**dict.fromkeys(names, value), TRINO_HOST="127.0.0.1", TRINO_PORT="9")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "TRINO_HOST is missing" not in said
    assert value.strip() not in said
    assert "Traceback" not in said
