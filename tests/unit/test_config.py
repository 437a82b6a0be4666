"""Settings: every variable once, a whole set of engines or none."""

import re
from pathlib import Path

import pytest

from app.config import ConfigurationError, Settings, check_choice

EXAMPLE = Path(__file__).parents[2] / ".env.example"
NOT_FOR_PEOPLE = {"KUBERNETES_SERVICE_HOST"}


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]


def test_the_example_names_every_variable_and_sets_none() -> None:
    text = EXAMPLE.read_text()
    named = set(re.findall(r"^# ([A-Z][A-Z0-9_]+)=", text, re.MULTILINE))
    assert named == {name.upper() for name in Settings.model_fields} - NOT_FOR_PEOPLE
    assert re.findall(r"^[A-Z_]+=", text, re.MULTILINE) == []


def test_nothing_set_is_fully_embedded() -> None:
    check_choice(settings())


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"trino_host": "trino.example.com"}, "AIRBYTE_BASE_URL, SPARK_IMAGE, S3_BUCKET, NESSIE"),
        ({"airbyte_base_url": "http://airbyte.example.com"}, "SPARK_IMAGE, TRINO_HOST, S3_BUCKET"),
        ({"spark_image": "registry.example.com/spark"}, "AIRBYTE_BASE_URL, TRINO_HOST, S3_BUCKET"),
        (
            {"s3_bucket": "lake", "asgard_embedded": "spark,sql"},
            r"Missing: AIRBYTE_BASE_URL, NESSIE_URI \(or ICEBERG_REST_URI\)\.",
        ),
        ({"kubernetes_service_host": "10.0.0.1"}, "AIRBYTE_BASE_URL, SPARK_IMAGE, TRINO_HOST"),
    ],
)
def test_a_mixture_names_everything_that_is_missing(given: dict[str, str], missing: str) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        check_choice(settings(**given))


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"asgard_embedded": "spork"}, "names spork; it may name ingestion, spark, sql, lake"),
        (
            {"asgard_embedded": "ingestion,spark,sql,lake", "trino_host": "trino.example.com"},
            "TRINO_HOST and ASGARD_EMBEDDED=sql contradict",
        ),
        (
            {"nessie_uri": "http://a.example.com", "iceberg_rest_uri": "http://b.example.com"},
            "two catalogs",
        ),
        ({"airbyte_client_id": "id"}, "AIRBYTE_CLIENT_SECRET go together"),
        (
            {"environment": "production", "asgard_embedded": "lake"},
            "ENVIRONMENT=production never runs on embedded",
        ),
    ],
)
def test_a_contradiction_is_told(given: dict[str, str], wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=wrong):
        check_choice(settings(**given))


def test_production_lists_everything_that_is_missing_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_choice(settings(environment="production", trino_host="trino.example.com"))
    message = str(caught.value)
    for name in ("AIRBYTE_BASE_URL", "SPARK_IMAGE", "S3_BUCKET", "NESSIE_URI"):
        assert name in message
    assert "TRINO_HOST" not in message


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRINO_HOST", "")
    assert settings().trino_host is None


def test_lists_are_read_from_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_ALLOWED_DIRS", "/a, /b,")
    assert settings().ingestion_allowed_dirs == (Path("/a"), Path("/b"))


def test_a_secret_is_not_shown() -> None:
    assert "hunter2" not in repr(settings(aws_secret_access_key="hunter2"))


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"aws_access_key_id": "k"}, "AWS_SECRET_ACCESS_KEY belong together"),
        ({"trino_password": "x", "trino_jwt_token": "y"}, "two ways in"),
        ({"trino_password": "x", "trino_http_scheme": "http"}, "in the clear"),
        ({"iceberg_rest_token": "x", "iceberg_rest_credential": "a:b"}, "two ways in"),
        ({"s3_bucket": "b", "asgard_embedded": "spark"}, "need AWS_ACCESS_KEY_ID"),
    ],
)
def test_credentials_that_cannot_work_are_told(given: dict[str, str], wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=wrong):
        check_choice(settings(**given))


@pytest.mark.parametrize(
    ("given", "spark", "ingestion", "sql"),
    [
        ({}, 2, 2, 2),
        ({"spark_image": "registry.example.com/spark"}, 50, 2, 2),
        ({"airbyte_base_url": "http://airbyte.example.com", "dbt_workers": 4}, 2, 50, 4),
        ({"spark_image": "registry.example.com/spark", "max_running_per_engine": 7}, 7, 7, 7),
    ],
)
def test_how_many_runs_go_at_once_is_by_engine(
    given: dict[str, object], spark: int, ingestion: int, sql: int
) -> None:
    found = settings(**given)
    running = tuple(found.max_running(part) for part in ("spark", "ingestion", "sql"))
    assert running == (spark, ingestion, sql)
