"""The settings of the door."""

import pytest
from pydantic import ValidationError

from app.config import AuthMode, ConfigurationError, Settings, check_choice

PRODUCTION = {
    "environment": "production",
    "airbyte_base_url": "http://airbyte.example.com",
    "spark_image": "registry.example.com/spark",
    "trino_host": "trino.example.com",
    "s3_bucket": "lake",
    "nessie_uri": "http://nessie.example.com/api/v1",
}


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]


def test_production_starts_with_a_door_alone() -> None:
    with pytest.raises(ConfigurationError, match="AUTH_MODE is missing"):
        check_choice(settings(**PRODUCTION))
    for mode in ("none", "api_key"):
        check_choice(settings(**PRODUCTION, auth_mode=mode))


def test_development_is_open_and_shows_its_docs() -> None:
    default = settings()
    assert default.authentication is AuthMode.NONE
    assert (default.shows_docs, default.requests_per_minute) == (True, 0)
    closed = settings(**PRODUCTION, auth_mode="api_key")
    assert (closed.shows_docs, closed.requests_per_minute) == (False, 1200)
    assert settings(**PRODUCTION, docs_public=True).shows_docs
    assert settings(rate_limit=5).requests_per_minute == 5


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"auth_mode": "oidc"}, "needs OIDC_ISSUER and OIDC_AUDIENCE"),
        ({"auth_mode": "oidc", "oidc_issuer": "https://a.example.com"}, "needs OIDC_AUDIENCE"),
        ({"oidc_issuer": "http://a.example.com"}, "not https"),
    ],
)
def test_a_door_that_cannot_work_is_told(given: dict[str, str], wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=wrong):
        check_choice(settings(**given))


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"auth_mode": "basic"}, "auth_mode"),
        ({"oidc_algorithms": "RS256,HS256"}, "has HS256"),
        ({"oidc_algorithms": "none"}, "has none"),
        ({"oidc_algorithms": ","}, "has nothing"),
        ({"oidc_role_scopes": {"a": ["dbt:all"]}}, "unknown scopes: dbt:all"),
        ({"trusted_proxies": "proxy.example.com"}, "trusted_proxies"),
        ({"cors_origins": "*"}, "CORS_ORIGINS"),
        ({"cors_origins": "https://app.example.com/"}, "CORS_ORIGINS"),
    ],
)
def test_a_value_that_cannot_be_is_told(given: dict[str, object], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        settings(**given)


def test_roles_are_read_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OIDC_ROLE_SCOPES", '{"analyst": ["dbt:read"]}')
    assert settings().oidc_role_scopes == {"analyst": ("dbt:read",)}
