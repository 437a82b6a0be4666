from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from app.caller import SCOPES
from app.config.section import Section
from app.config.values import AsJson, AsList, File, Kind, Seconds, Url, Word

Signature = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"
]
"""JWT signatures by a private key. With HS256, anyone who knows the public key could sign."""


class AuthMode(StrEnum):
    NONE = "none"
    API_KEY = "api_key"
    OIDC = "oidc"


class Authentication(Section):
    model_config = SettingsConfigDict(title="Authentication")

    auth_mode: AuthMode | None = Field(default=None, examples=["api_key"])
    """Required credential: `none` admits everyone, `api_key` requires a key, and `oidc` requires a
    token of OIDC_ISSUER. Default: `none` in development. Required in production."""
    auth_keys_file: File | None = Field(default=None, examples=["/etc/asgard/keys/keys.json"])
    """File of hashed keys, written by `asgard keys` or mounted from a Secret. It is read again when
    it changes. Default: `$ASGARD_HOME/keys.json`."""
    auth_api_key_file: File | None = Field(default=None, examples=["/etc/asgard/api-key/api-key"])
    """File with one plain-text key that has every scope, for example the mounted Secret
    `api-secrets`, key `api-key`. It is read again when it changes."""
    oidc_issuer: Url | None = Field(default=None, examples=["https://login.example.com"])
    """URL of the issuer, exactly as its tokens state it. `/.well-known/openid-configuration` is
    below this URL."""
    oidc_audience: Word | None = Field(default=None, examples=["asgard"])
    """Value that the `aud` of a token must contain."""
    oidc_algorithms: Annotated[tuple[Signature, ...], NoDecode, AsList] = Field(
        default=("RS256", "ES256"), min_length=1
    )
    """Accepted signature algorithms. Only those that sign with a private key are allowed."""
    oidc_clock_skew: Seconds = Field(default=30, ge=0, le=300)
    """Accepted difference between the issuer's clock and the gateway's."""
    oidc_roles_claim: Word = Field(default="roles", examples=["realm_access.roles"])
    """Path of the roles claim in a token. Dots separate nested fields."""
    oidc_role_scopes: Annotated[
        dict[str, tuple[str, ...]],
        NoDecode,
        AsJson,
        Kind("a JSON object of role names, each with a list of scopes"),
    ] = Field(default_factory=dict, examples=['{"analyst": ["dbt:read", "runs:read"]}'])
    """Scopes that each role grants. If this is set, a role that is not listed grants nothing. If it
    is not set, a role grants the scope with the same name, if there is one."""
    docs_public: bool | None = Field(default=None, examples=["true"])
    """Whether `/`, `/docs`, `/redoc`, `/openapi.json`, `/problems` and their files are available
    without a key. Default: true in development, false in production."""
    rate_limit: int | None = Field(default=None, ge=0, examples=["1200"])
    """Requests that a caller may make per minute on each replica. 0 means no limit. Default: 1200,
    or no limit with AUTH_MODE=none."""

    @field_validator("oidc_role_scopes")
    @classmethod
    def _known_scopes(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if unknown := {scope for scopes in value.values() for scope in scopes} - SCOPES:
            raise ValueError(f"It contains unknown scopes: {', '.join(sorted(unknown))}.")
        return value
