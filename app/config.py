"""Every environment variable, once, with its default and its meaning. Nothing else reads them."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.caller import SCOPES

SIGNATURES = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"}
)
"""Of JWTs, made by a private key: with HS256 whoever knows the public key could sign."""

RUNNING_IN_PRODUCTION, RUNNING_EMBEDDED = 50, 2


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


class AuthMode(StrEnum):
    NONE = "none"
    API_KEY = "api_key"
    OIDC = "oidc"


class ConfigurationError(Exception):
    """The settings cannot work together; the message lists everything that is wrong."""


class Settings(BaseSettings):
    """Read from the environment and `.env`; an empty value means unset. Times are in seconds."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    # Core
    environment: Environment = Environment.DEVELOPMENT
    log_level: str = "INFO"
    api_version: str = "v1"
    trusted_hosts: Annotated[tuple[str, ...], NoDecode] = ("localhost", "127.0.0.1", "[::1]")
    """Host names that requests may carry; `*` is any, `*.example.com` a domain. The default keeps
    web pages elsewhere from reaching an open gateway on a laptop (DNS rebinding)."""
    max_body_bytes: int = 4 * 1024 * 1024
    wait_seconds: float = 50
    """How long documented routes wait for a run before they answer `running`."""

    request_timeout: float = Field(default=60, gt=0)
    """How long a body may take to arrive (408), and a handler to answer (504), beyond what it
    waits for a run or asks of a source."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Web pages that may call the API from a browser: `https://app.example.com`. None unless set;
    `*` is refused."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses or networks (`10.0.0.0/8`) whose X-Forwarded-For and -Proto are believed."""

    # Authentication
    auth_mode: AuthMode | None = None
    """Who may call: `none` is anybody, `api_key` who has a key, `oidc` who has a token of
    OIDC_ISSUER. Unset is `none` in development, and no start in production."""
    auth_keys_file: Path | None = None
    """The keys, as hashes: what `asgard keys` writes, or a mounted Secret; read again when it
    changes. Default: `$ASGARD_HOME/keys.json`."""
    auth_api_key_file: Path | None = None
    """A file that holds one key with every scope, in plain text: the mounted Secret `api-secrets`,
    key `api-key`. Read again when it changes."""
    oidc_issuer: str | None = None
    """The issuer exactly as its tokens name it; `/.well-known/openid-configuration` is under it."""
    oidc_audience: str | None = None
    """What has to stand in the `aud` of a token."""
    oidc_algorithms: Annotated[tuple[str, ...], NoDecode] = ("RS256", "ES256")
    """Signatures that are accepted; only such as are made by a private key can be named."""
    oidc_clock_skew: float = Field(default=30, ge=0, le=300)
    """How far the issuer's clock may be off."""
    oidc_roles_claim: str = "roles"
    """Where roles stand in a token; dots lead inside: `realm_access.roles`."""
    oidc_role_scopes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Which scopes a role grants: `{"analyst": ["dbt:read", "runs:read"]}`. A role that is not
    named here grants the scope of its own name, if there is one."""
    docs_public: bool | None = None
    """Whether `/docs`, `/redoc`, `/openapi.json`, `/problems` and their files answer without a
    key. Default: true in development, false in production."""
    rate_limit: int | None = Field(default=None, ge=0)
    """Requests that a caller may make in a minute, on each replica; 0 is no limit. Default: 1200,
    and no limit with AUTH_MODE=none."""

    # Embedded lakehouse
    asgard_home: Path = Path(".asgard")
    asgard_embedded: Annotated[frozenset[str], NoDecode] = frozenset()
    """Parts that stay embedded beside production ones: ingestion, spark, sql, lake."""
    kubernetes_service_host: str | None = None

    # Airbyte
    airbyte_base_url: str | None = None
    airbyte_username: str | None = None
    airbyte_password: SecretStr | None = None
    airbyte_client_id: str | None = None
    """With AIRBYTE_CLIENT_SECRET: an application of Airbyte; goes before name and password."""
    airbyte_client_secret: SecretStr | None = None
    airbyte_workspace: str | None = None
    """Name or id of the workspace. Default: the only one that there is."""
    airbyte_timeout: float = Field(default=30, gt=0)
    """How long Airbyte may take to answer; where it asks a source, six times that."""
    connectors_allowed: Annotated[tuple[str, ...], NoDecode] = ()
    """More connectors for the embedded engine, as pinned requirements: `airbyte-source-x==1.2`."""
    ingestion_allowed_dirs: Annotated[tuple[Path, ...], NoDecode] = ()
    """Local directories that a `file` source may read, besides `$ASGARD_HOME/data`."""
    s3_allowed_prefixes: Annotated[tuple[str, ...], NoDecode] = ()
    """Key prefixes of the bucket that SQL and file sources may read, besides `bronze/`."""

    # Spark
    spark_namespace: str = "spark-operator"
    spark_image: str | None = None
    spark_service_account: str = "spark-sa"
    s3_secret_name: str = "s3-credentials"  # noqa: S105 — a name, not a secret
    spark_version: str = "3.5.0"
    spark_submit_timeout: float = 600
    """How long an application may wait before it runs."""
    spark_ttl_seconds: int = Field(default=86_400, ge=60)
    """How long an ended SparkApplication stays in the cluster."""
    spark_retries: int = Field(default=1, ge=0, le=10)
    """How often the operator repeats an attempt that failed, though not by fault of its SQL."""
    spark_dynamic_allocation: bool = False
    """Executors come and go between 1 and `executor_instances`."""
    spark_prometheus: bool = False
    kubeconfig: Path | None = None
    """Outside a cluster. Default: `~/.kube/config`."""

    # Trino and dbt
    trino_host: str | None = None
    trino_port: int = 8080
    trino_user: str = "dbt"
    trino_password: SecretStr | None = None
    """Basic authentication, over https only."""
    trino_jwt_token: SecretStr | None = None
    trino_http_scheme: Literal["http", "https"] | None = None
    """Default: https with a password or a token, else http."""
    trino_verify: str = "true"
    """Whether Trino's certificate is checked: true, false, or the file of a CA to trust."""
    trino_catalog: str = "iceberg"
    silver_schema: str = "silver"
    gold_schema: str = "gold"
    dbt_project_dir: Path | None = None
    """Where the generated dbt project is kept. Default: `/tmp/dbt_projects`, embedded
    `$ASGARD_HOME/dbt`."""
    dbt_profiles_dir: Path | None = None
    dbt_workers: int = Field(default=2, ge=1, le=16)

    # Storage and catalog
    s3_bucket: str | None = None
    s3_endpoint: str | None = None
    """Of an S3 other than AWS; its buckets are addressed by path."""
    aws_region: str = "us-east-1"
    aws_access_key_id: str | None = None
    """Without keys, AWS's own chain: environment, profile, web identity, instance role."""
    aws_secret_access_key: SecretStr | None = None
    nessie_uri: str | None = None
    """Nessie's own API: `http://host:19120/api/v1`; the catalog is its `/iceberg/{ref}`."""
    nessie_ref: str = "main"
    nessie_records_ref: str | None = None
    """The branch of Asgard's records, so that a rollback of data leaves them alone. Default:
    NESSIE_REF."""
    iceberg_rest_uri: str | None = None
    iceberg_rest_warehouse: str | None = None
    iceberg_rest_credential: SecretStr | None = None
    """`CLIENT_ID:CLIENT_SECRET` of OAuth2's client credentials; the token is renewed in time."""
    iceberg_rest_oauth2_uri: str | None = None
    """Where tokens are given. Default: the catalog's own `/v1/oauth/tokens`."""
    iceberg_rest_token: SecretStr | None = None
    """A bearer token, used as it is."""

    # Limits
    max_queued: int = Field(default=1000, ge=1)
    """Open runs beyond this many are refused with 429."""
    max_runs_per_caller: int = Field(default=100, ge=0)
    """Open runs of one caller beyond this many are refused with 429; 0 is no limit. Does not bind
    callers without a name (AUTH_MODE=none)."""
    max_running_per_engine: int | None = Field(default=None, ge=1)
    """Runs of one kind that a gateway has going at once. Default: 50 in Airbyte and on Kubernetes,
    which have queues of their own; 2 on embedded engines; DBT_WORKERS for SQL."""
    run_timeout: float = 3600

    @field_validator(
        "trusted_hosts",
        "cors_origins",
        "trusted_proxies",
        "oidc_algorithms",
        "connectors_allowed",
        "ingestion_allowed_dirs",
        "s3_allowed_prefixes",
        "asgard_embedded",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
            raise ValueError("LOG_LEVEL is one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
        return value.upper()

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network, strict=False)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"http", "https"}
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ValueError("CORS_ORIGINS are like https://app.example.com, with no path")
        return value

    @field_validator("oidc_algorithms")
    @classmethod
    def _asymmetric(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or (unknown := set(value) - SIGNATURES):
            wrong = ", ".join(sorted(unknown)) if value else "nothing"
            raise ValueError(f"OIDC_ALGORITHMS has {wrong}; it may have {', '.join(SIGNATURES)}")
        return value

    @field_validator("oidc_role_scopes")
    @classmethod
    def _known_scopes(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if unknown := {scope for scopes in value.values() for scope in scopes} - SCOPES:
            raise ValueError(f"OIDC_ROLE_SCOPES names unknown scopes: {', '.join(sorted(unknown))}")
        return value

    def is_production(self, part: str) -> bool:
        """Of `PARTS`; else it is embedded. Ask only after `check_choice`."""
        return any(getattr(self, name) for name in PARTS[part])

    def max_running(self, part: str) -> int:
        """Of `PARTS`. Ask only after `check_choice`."""
        if self.max_running_per_engine is not None:
            return self.max_running_per_engine
        if part == "sql":
            return self.dbt_workers
        return RUNNING_IN_PRODUCTION if self.is_production(part) else RUNNING_EMBEDDED

    @property
    def authentication(self) -> AuthMode:
        return self.auth_mode or AuthMode.NONE

    @property
    def shows_docs(self) -> bool:
        if self.docs_public is not None:
            return self.docs_public
        return self.environment is Environment.DEVELOPMENT

    @property
    def requests_per_minute(self) -> int:
        if self.rate_limit is not None:
            return self.rate_limit
        return 0 if self.authentication is AuthMode.NONE else 1200

    @property
    def keys_file(self) -> Path:
        return (self.auth_keys_file or self.home / "keys.json").expanduser().absolute()

    @property
    def home(self) -> Path:
        return self.asgard_home.expanduser().absolute()

    @property
    def project_dir(self) -> Path:
        default = Path("/tmp/dbt_projects") if self.trino_host else self.home / "dbt"  # noqa: S108
        return (self.dbt_project_dir or default).expanduser().absolute()

    @property
    def profiles_dir(self) -> Path:
        return (self.dbt_profiles_dir or self.project_dir).expanduser().absolute()


PARTS: dict[str, tuple[str, ...]] = {
    "ingestion": ("airbyte_base_url",),
    "spark": ("spark_image",),
    "sql": ("trino_host",),
    "lake": ("s3_bucket", "nessie_uri", "iceberg_rest_uri"),
}
"""The parts that are either production or embedded, and the settings that choose production."""


def check_choice(settings: Settings) -> None:
    """Raises `ConfigurationError`, listing all that is wrong, unless every part of Asgard is
    chosen: all of them embedded, or each by its variables or by name in `ASGARD_EMBEDDED`."""
    wrong = [*_contradictions(settings), *_missing(settings), *_open_doors(settings)]
    if wrong:
        raise ConfigurationError(" ".join(wrong))


def _contradictions(settings: Settings) -> Iterator[str]:
    embedded = settings.asgard_embedded
    if unknown := embedded - PARTS.keys():
        yield f"ASGARD_EMBEDDED names {', '.join(sorted(unknown))}; it may name {', '.join(PARTS)}."
    for part in sorted(embedded & PARTS.keys()):
        if given := _given(settings, {part}):
            yield f"{', '.join(given)} and ASGARD_EMBEDDED={part} contradict one another."
    if settings.nessie_uri and settings.iceberg_rest_uri:
        yield "NESSIE_URI and ICEBERG_REST_URI are two catalogs: give one."
    if bool(settings.airbyte_client_id) != bool(settings.airbyte_client_secret):
        yield "AIRBYTE_CLIENT_ID and AIRBYTE_CLIENT_SECRET go together: give both."
    if settings.s3_bucket and embedded & {"spark", "sql"} and not settings.aws_access_key_id:
        yield "Embedded engines on S3_BUCKET need AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    if bool(settings.aws_access_key_id) != bool(settings.aws_secret_access_key):
        yield "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together: give both or neither."
    if settings.iceberg_rest_credential and settings.iceberg_rest_token:
        yield "ICEBERG_REST_CREDENTIAL and ICEBERG_REST_TOKEN are two ways in: give one."
    if settings.trino_password and settings.trino_jwt_token:
        yield "TRINO_PASSWORD and TRINO_JWT_TOKEN are two ways in: give one."
    if settings.trino_http_scheme == "http" and (
        settings.trino_password or settings.trino_jwt_token
    ):
        yield "TRINO_HTTP_SCHEME=http would send the password or token in the clear: use https."
    if embedded and settings.environment is Environment.PRODUCTION:
        yield "ENVIRONMENT=production never runs on embedded engines: unset ASGARD_EMBEDDED."


def _missing(settings: Settings) -> Iterator[str]:
    production = settings.environment is Environment.PRODUCTION
    if not (production or settings.kubernetes_service_host or _given(settings, PARTS)):
        return
    missing = [name for part in PARTS for name in _missing_of(part, settings)]
    if missing:
        why = "In production" if production else "Beside production engines, or in Kubernetes,"
        yield (
            f"{why} nothing is embedded by itself. Missing: {', '.join(missing)}. On a laptop "
            "ASGARD_EMBEDDED may name parts that stay embedded."
        )


def _missing_of(part: str, settings: Settings) -> list[str]:
    if part in settings.asgard_embedded:
        return []
    if part != "lake":
        return [] if _given(settings, {part}) else [PARTS[part][0].upper()]
    missing = [] if settings.s3_bucket else ["S3_BUCKET"]
    if not (settings.nessie_uri or settings.iceberg_rest_uri):
        missing.append("NESSIE_URI (or ICEBERG_REST_URI)")
    return missing


def _open_doors(settings: Settings) -> Iterator[str]:
    if settings.auth_mode is None and settings.environment is Environment.PRODUCTION:
        yield (
            "AUTH_MODE is missing: api_key or oidc; none, said in so many words, is open to "
            "whoever reaches the port."
        )
    if settings.auth_mode is AuthMode.OIDC:
        names = ("oidc_issuer", "oidc_audience")
        if missing := [name.upper() for name in names if not getattr(settings, name)]:
            yield f"AUTH_MODE=oidc needs {' and '.join(missing)}."
    if settings.oidc_issuer and not _is_guarded(settings.oidc_issuer):
        yield "OIDC_ISSUER is not https: its keys could be changed on their way."


def _is_guarded(url: str) -> bool:
    """Or of this very machine, where nobody stands in between."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in {"localhost", "127.0.0.1", "::1"}


def _given(settings: Settings, parts: Iterable[str]) -> list[str]:
    """The variables that are set of those that choose production for these parts."""
    names = (name for part in PARTS if part in parts for name in PARTS[part])
    return [name.upper() for name in names if getattr(settings, name)]
