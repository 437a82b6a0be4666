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
"""Of JWTs, made by a private key: with HS256 whoever knows the public key could sign."""


class AuthMode(StrEnum):
    NONE = "none"
    API_KEY = "api_key"
    OIDC = "oidc"


class Authentication(Section):
    model_config = SettingsConfigDict(title="Authentication")

    auth_mode: AuthMode | None = Field(default=None, examples=["api_key"])
    """Who may call: `none` is anybody, `api_key` who has a key, `oidc` who has a token of
    OIDC_ISSUER. Unset is `none` in development, and no start in production."""
    auth_keys_file: File | None = Field(default=None, examples=["/etc/asgard/keys/keys.json"])
    """The keys, as hashes: what `asgard keys` writes, or a mounted Secret; read again when it
    changes. Default: `$ASGARD_HOME/keys.json`."""
    auth_api_key_file: File | None = Field(default=None, examples=["/etc/asgard/api-key/api-key"])
    """A file that holds one key with every scope, in plain text: the mounted Secret `api-secrets`,
    key `api-key`. Read again when it changes."""
    oidc_issuer: Url | None = Field(default=None, examples=["https://login.example.com"])
    """The issuer exactly as its tokens name it; `/.well-known/openid-configuration` is under it."""
    oidc_audience: Word | None = Field(default=None, examples=["asgard"])
    """What has to stand in the `aud` of a token."""
    oidc_algorithms: Annotated[tuple[Signature, ...], NoDecode, AsList] = Field(
        default=("RS256", "ES256"), min_length=1
    )
    """Signatures that are accepted; only such as are made by a private key can be named."""
    oidc_clock_skew: Seconds = Field(default=30, ge=0, le=300)
    """How far the issuer's clock may be off."""
    oidc_roles_claim: Word = Field(default="roles", examples=["realm_access.roles"])
    """Where roles stand in a token; dots lead inside."""
    oidc_role_scopes: Annotated[
        dict[str, tuple[str, ...]],
        NoDecode,
        AsJson,
        Kind("a JSON object of role names, each with a list of scopes"),
    ] = Field(default_factory=dict, examples=['{"analyst": ["dbt:read", "runs:read"]}'])
    """Which scopes a role grants. If it is set, a role that it does not name grants nothing. If it
    is not set, a role grants the scope of its own name, if there is one."""
    docs_public: bool | None = Field(default=None, examples=["true"])
    """Whether `/docs`, `/redoc`, `/openapi.json`, `/problems` and their files answer without a
    key. Default: true in development, false in production."""
    rate_limit: int | None = Field(default=None, ge=0, examples=["1200"])
    """Requests that a caller may make in a minute, on each replica; 0 is no limit. Default: 1200,
    and no limit with AUTH_MODE=none."""

    @field_validator("oidc_role_scopes")
    @classmethod
    def _known_scopes(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if unknown := {scope for scopes in value.values() for scope in scopes} - SCOPES:
            raise ValueError(f"It names unknown scopes: {', '.join(sorted(unknown))}.")
        return value
