"""`.env.example` and docs/configuration.md match the settings."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import Settings
from app.config.reference import SET_BY_KUBERNETES, variables
from script.render_configuration import FILES

ROOT = Path(__file__).parents[3]
EXAMPLE = (ROOT / ".env.example").read_text()
PAGE = (ROOT / "docs" / "configuration.md").read_text()
DOCUMENTED = {
    "ENVIRONMENT": "development",
    "LOG_LEVEL": "INFO",
    "API_VERSION": "v1",
    "AIRBYTE_BASE_URL": None,
    "AIRBYTE_USERNAME": None,
    "AIRBYTE_PASSWORD": None,
    "SPARK_NAMESPACE": "spark-operator",
    "SPARK_IMAGE": None,
    "SPARK_SERVICE_ACCOUNT": "spark-sa",
    "S3_SECRET_NAME": "s3-credentials",
    "TRINO_HOST": None,
    "TRINO_PORT": "8080",
    "TRINO_USER": "dbt",
    "TRINO_CATALOG": "iceberg",
    "SILVER_SCHEMA": "silver",
    "GOLD_SCHEMA": "gold",
    "S3_BUCKET": None,
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "NESSIE_URI": None,
    "NESSIE_REF": "main",
    "DBT_PROJECT_DIR": None,
    "DBT_PROFILES_DIR": None,
}
"""Variables that the documentation has named from the beginning, with their defaults."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_files_match_the_settings(path: Path) -> None:
    assert path.read_text() == FILES[path]()


def test_the_script_checks_without_writing() -> None:
    script = ROOT / "script" / "render_configuration.py"
    check = [sys.executable, script, "--check"]
    done = subprocess.run(check, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_example_names_every_variable_and_sets_none() -> None:
    named = re.findall(r"^# ([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == {name.upper() for name in Settings.model_fields} - SET_BY_KUBERNETES
    assert re.findall(r"^[A-Z_]+=", EXAMPLE, re.MULTILINE) == []


def test_every_variable_has_a_row_with_a_meaning() -> None:
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| (.+?) \|", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == [variable.name for variable in variables()]
    assert {name for name, _ in rows} == {name.upper() for name in Settings.model_fields}
    assert [variable.name for variable in variables() if len(variable.description) < 10] == []


def test_documented_variables_exist_with_their_defaults() -> None:
    found = {variable.name: variable.default for variable in variables()}
    assert {name: found[name] for name in DOCUMENTED} == DOCUMENTED
    assert "Default: `/tmp/dbt_projects`" in PAGE


def test_required_variables_are_marked_as_production() -> None:
    assert {variable.name for variable in variables() if variable.is_required} == {
        *("AUTH_MODE", "AIRBYTE_BASE_URL", "SPARK_IMAGE", "TRINO_HOST", "S3_BUCKET", "NESSIE_URI")
    }
