"""Settings that work together: a whole set of engines or none."""

from pathlib import Path

import pytest

from app.config import PARTS, ConfigurationError, Settings, check_choice
from app.config.section import Technology
from app.config.settings import TECHNOLOGIES
from app.doctor.engines import ENGINE_CHECKS


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]


def refusal(**given: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check_choice(settings(**given))
    return str(caught.value)


def test_nothing_set_is_fully_embedded() -> None:
    check_choice(settings())


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (
            {"trino_host": "trino.example.com"},
            ["AIRBYTE_BASE_URL", "SPARK_IMAGE", "S3_BUCKET", "NESSIE_URI"],
        ),
        (
            {"airbyte_base_url": "http://airbyte.example.com"},
            ["SPARK_IMAGE", "TRINO_HOST", "S3_BUCKET", "NESSIE_URI"],
        ),
        (
            {"spark_image": "registry.example.com/spark"},
            ["AIRBYTE_BASE_URL", "TRINO_HOST", "S3_BUCKET", "NESSIE_URI"],
        ),
        (
            {
                "s3_bucket": "lake",
                "asgard_embedded": "spark,sql",
                "aws_access_key_id": "k",
                "aws_secret_access_key": "s",
            },
            ["AIRBYTE_BASE_URL", "NESSIE_URI"],
        ),
        (
            {"kubernetes_service_host": "10.0.0.1"},
            ["AIRBYTE_BASE_URL", "SPARK_IMAGE", "TRINO_HOST", "S3_BUCKET", "NESSIE_URI"],
        ),
    ],
)
def test_a_mixture_names_everything_that_is_missing(
    given: dict[str, str], missing: list[str]
) -> None:
    message = refusal(**given)
    lines = [line for line in message.splitlines() if "is missing" in line]
    assert [line.removeprefix("- ").split(" ")[0] for line in lines] == missing
    assert "NESSIE_URI (or ICEBERG_REST_URI) is missing" in message
    assert "Or add ingestion to ASGARD_EMBEDDED" in message or "AIRBYTE_BASE_URL" not in missing


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (
            {"asgard_embedded": "ingestion,spark,sql,lake", "trino_host": "trino.example.com"},
            "TRINO_HOST and ASGARD_EMBEDDED=sql contradict",
        ),
        (
            {"nessie_uri": "http://a.example.com", "iceberg_rest_uri": "http://b.example.com"},
            "NESSIE_URI and ICEBERG_REST_URI both name a catalog",
        ),
        (
            {"airbyte_client_id": "id"},
            "AIRBYTE_CLIENT_ID and AIRBYTE_CLIENT_SECRET must be set together",
        ),
        ({"airbyte_username": "me"}, "AIRBYTE_USERNAME and AIRBYTE_PASSWORD must be set together"),
        (
            {"environment": "production", "asgard_embedded": "lake"},
            "ENVIRONMENT=production does not allow embedded",
        ),
        ({"silver_schema": "asgard"}, "SILVER_SCHEMA=asgard is a reserved schema"),
        ({"gold_schema": "bronze"}, "GOLD_SCHEMA=bronze is a reserved schema"),
        (
            {"trino_verify": "/no/such/ca.pem"},
            "names a file that does not exist",
        ),
        (
            {"s3_allowed_prefixes": "asgard"},
            "S3_ALLOWED_PREFIXES=asgard/ contains Asgard's own files",
        ),
        ({"s3_allowed_prefixes": "a,asgard/runs/"}, "S3_ALLOWED_PREFIXES=asgard/runs/ contains"),
    ],
)
def test_a_contradiction_is_reported(given: dict[str, str], wrong: str) -> None:
    assert wrong in refusal(**given)


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRINO_HOST", "")
    assert settings().trino_host is None


def test_lists_are_read_from_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_ALLOWED_DIRS", "/a, /b,")
    assert settings().ingestion_allowed_dirs == (Path("/a"), Path("/b"))


def test_a_prefix_of_keys_ends_with_a_slash() -> None:
    given = settings(s3_allowed_prefixes="a,landing/eu/,asg")
    assert given.s3_allowed_prefixes == ("a/", "landing/eu/", "asg/")
    check_choice(given)


def test_a_secret_is_not_shown() -> None:
    assert "hunter2" not in repr(settings(aws_secret_access_key="hunter2"))


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (
            {"aws_access_key_id": "k"},
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set together",
        ),
        ({"trino_password": "x", "trino_jwt_token": "y"}, "alternative credentials"),
        ({"trino_password": "x", "trino_http_scheme": "http"}, "unencrypted"),
        ({"iceberg_rest_token": "x", "iceberg_rest_credential": "a:b"}, "alternative credentials"),
        ({"s3_bucket": "lake", "asgard_embedded": "spark"}, "need AWS_ACCESS_KEY_ID"),
    ],
)
def test_credentials_that_cannot_work_are_refused(given: dict[str, str], wrong: str) -> None:
    assert wrong in refusal(**given)


@pytest.mark.parametrize(
    ("given", "spark", "ingestion", "sql"),
    [
        ({}, 2, 2, 2),
        ({"spark_image": "registry.example.com/spark"}, 50, 2, 2),
        ({"airbyte_base_url": "http://airbyte.example.com", "dbt_workers": 4}, 2, 50, 4),
        ({"spark_image": "registry.example.com/spark", "max_running_per_engine": 7}, 7, 7, 7),
    ],
)
def test_the_limit_of_running_runs_depends_on_the_engine(
    given: dict[str, object], spark: int, ingestion: int, sql: int
) -> None:
    found = settings(**given)
    running = tuple(found.max_running(part) for part in ("spark", "ingestion", "sql"))
    assert running == (spark, ingestion, sql)


def test_a_technology_is_selected_by_its_setting() -> None:
    assert settings().technology_of("sql") is None
    trino = settings(trino_host="trino.example.com")
    assert trino.technology_of("sql") == Technology(
        "sql", "trino", ("trino_host",), workers_connect=False
    )
    assert (settings().workers_connect("sql"), trino.workers_connect("sql")) == (True, False)
    # A new technology must say that its workers need no limit.
    assert Technology("sql", "other", ("other_host",)).workers_connect


def test_the_doctor_checks_every_technology() -> None:
    checked = set(ENGINE_CHECKS) | {"s3"}  # The check of the lake is not one of an engine.
    assert {technology.name for technology in TECHNOLOGIES} == checked


def test_two_technologies_for_one_part_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Technology("sql", "other", ("trino_user",))
    monkeypatch.setattr("app.config.settings.TECHNOLOGIES", (*TECHNOLOGIES, other))
    monkeypatch.setitem(PARTS, "sql", ("trino_host", "trino_user"))
    message = refusal(trino_host="trino.example.com", asgard_embedded="ingestion,spark,lake")
    assert "TRINO_HOST and TRINO_USER select different engines for sql" in message
