"""One configuration value = one values key = one variable = one field of Settings."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config import Settings
from app.config.reference import variable
from script.chart_settings import ELSEWHERE, NOT_IN_A_CLUSTER, chart_fields, key_of
from tests.integration.chart.tools import CHART, ROOT, template

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
TEXTS = {
    "environment": "development",
    "log_level": "DEBUG",
    "trino_http_scheme": "https",
    "max_body_bytes": 5_000_000,
    "trusted_hosts": ["asgard.example.com", "*"],
    "s3_allowed_prefixes": ["landing/", "other/"],
    "oidc_role_scopes": {"analyst": ["dbt:read"]},
}


def settings_of(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in document["data"].items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None)


def config_map(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return next(d for d in documents if d["metadata"]["name"] == "asgard-config")


def test_every_setting_has_its_value_and_every_value_its_setting() -> None:
    assert list(VALUES["config"].keys() - {key_of(n) for n in chart_fields(secret=False)}) == []
    assert {key_of(n) for n in chart_fields(secret=False)} == set(VALUES["config"])
    assert {key_of(n) for n in chart_fields(secret=True)} == set(VALUES["secretConfig"])


def test_the_schema_says_what_the_settings_say() -> None:
    script = ROOT / "script" / "chart_settings.py"
    done = subprocess.run([sys.executable, script, "--check"], cwd=ROOT, env={"PYTHONPATH": "."})
    assert done.returncode == 0


def test_a_value_other_than_the_default_arrives_in_its_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["config"]
    given: dict[str, Any] = {}
    for name in chart_fields(secret=False):
        kinds = schema["properties"][key_of(name)].get("type", [])
        bounds = schema["properties"][key_of(name)]
        if name in TEXTS:
            given[name] = TEXTS[name]
        elif "boolean" in kinds:
            given[name] = not Settings.model_fields[name].default
        elif "integer" in kinds or "number" in kinds:
            more = int(Settings.model_fields[name].default or 1) + 1
            given[name] = min(more, bounds.get("maximum", more))
        elif "array" in kinds:
            given[name] = variable(name).example.split(",")
        else:
            known = variable(name)
            given[name] = known.example if known.default is None else f"{known.default}0"
    assert {name for name in chart_fields(secret=False) if name not in given} == set()
    values = tmp_path / "values.yaml"
    values.write_text(
        yaml.safe_dump(
            {"s3Bucket": "lake", "config": {key_of(name): value for name, value in given.items()}}
        )
    )

    found = settings_of(config_map(template("-f", values)), monkeypatch)

    assert found.s3_bucket == "lake"
    for name, value in given.items():
        arrived = getattr(found, name)
        expected = ["*"] if name == "trusted_hosts" else value
        if isinstance(arrived, tuple):
            assert [*arrived] == expected, name
        elif isinstance(arrived, dict):
            assert {role: [*scopes] for role, scopes in arrived.items()} == expected
        else:
            assert arrived == expected or str(arrived) == expected, name


def test_what_the_least_values_give_is_complete_for_production(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from app.config import check_choice

    found = settings_of(config_map(template("--set", "s3Bucket=lake")), monkeypatch)

    check_choice(found)
    assert found.environment == "production"
    assert found.spark_image == "registry.example.com/spark-custom:latest"
    assert found.trusted_hosts == ("*",)


def test_no_setting_is_named_in_two_places() -> None:
    assert set(ELSEWHERE).isdisjoint(NOT_IN_A_CLUSTER)
    known = {name for name in ELSEWHERE if name in Settings.model_fields}
    assert {"s3_bucket", "aws_access_key_id", "aws_secret_access_key"} <= known
