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
    "given",
    [
        {"trino_host": "trino.example.com"},
        {"airbyte_base_url": "http://airbyte.example.com"},
        {"spark_image": "registry.example.com/spark"},
        {"s3_bucket": "lake", "nessie_uri": "http://nessie.example.com"},
    ],
)
def test_a_mixture_names_what_asks_for_production(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_choice(settings(**given))
    for name in given:
        assert name.upper() in str(caught.value)


def test_production_lists_everything_that_is_missing_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_choice(settings(environment="production", trino_host="trino.example.com"))
    message = str(caught.value)
    for name in ("AIRBYTE_BASE_URL", "SPARK_IMAGE", "S3_BUCKET", "NESSIE_URI"):
        assert name in message
    assert "missing: AIRBYTE_BASE_URL" in message


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRINO_HOST", "")
    assert settings().trino_host is None


def test_lists_are_read_from_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_ALLOWED_DIRS", "/a, /b,")
    assert settings().ingestion_allowed_dirs == (Path("/a"), Path("/b"))


def test_inside_a_cluster_nothing_is_embedded() -> None:
    with pytest.raises(ConfigurationError, match="Kubernetes"):
        check_choice(settings(kubernetes_service_host="10.0.0.1"))


def test_a_secret_is_not_shown() -> None:
    assert "hunter2" not in repr(settings(aws_secret_access_key="hunter2"))
