"""The settings of authentication."""

import pytest

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


def test_production_does_not_start_without_an_auth_mode() -> None:
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
        ({"auth_mode": "oidc"}, r"needs OIDC_ISSUER(.|\n)*needs OIDC_AUDIENCE"),
        ({"auth_mode": "oidc", "oidc_issuer": "https://a.example.com"}, "needs OIDC_AUDIENCE"),
        ({"oidc_issuer": "http://a.example.com"}, "not https"),
    ],
)
def test_authentication_settings_that_cannot_work_are_refused(
    given: dict[str, str], wrong: str
) -> None:
    with pytest.raises(ConfigurationError, match=wrong):
        check_choice(settings(**given))


def test_roles_are_read_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OIDC_ROLE_SCOPES", '{"analyst": ["dbt:read"]}')
    assert settings().oidc_role_scopes == {"analyst": ("dbt:read",)}
