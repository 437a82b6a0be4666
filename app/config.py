"""Every environment variable, once, with its default and its meaning. Nothing else reads them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


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

    # Embedded lakehouse
    asgard_home: Path = Path(".asgard")
    asgard_embedded: Annotated[frozenset[str], NoDecode] = frozenset()
    """Engines that may stay embedded beside production ones: ingestion, spark, sql."""
    kubernetes_service_host: str | None = None

    # Airbyte
    airbyte_base_url: str | None = None
    airbyte_username: str | None = None
    airbyte_password: SecretStr | None = None
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

    # Trino and dbt
    trino_host: str | None = None
    trino_port: int = 8080
    trino_user: str = "dbt"
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
    aws_region: str = "us-east-1"
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    nessie_uri: str | None = None
    nessie_ref: str = "main"
    iceberg_rest_uri: str | None = None

    # Limits
    max_queued: int = Field(default=1000, ge=1)
    """Open runs beyond this many are refused with 429."""
    max_running_per_engine: int = Field(default=2, ge=1)
    run_timeout: float = 3600

    @field_validator(
        "trusted_hosts",
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

    @property
    def home(self) -> Path:
        return self.asgard_home.expanduser().absolute()

    @property
    def project_dir(self) -> Path:
        return (self.dbt_project_dir or self.home / "dbt").expanduser().absolute()

    @property
    def profiles_dir(self) -> Path:
        return (self.dbt_profiles_dir or self.project_dir).expanduser().absolute()


PRODUCTION_VARIABLES = ("AIRBYTE_BASE_URL", "SPARK_IMAGE", "TRINO_HOST", "S3_BUCKET")


def check_choice(settings: Settings) -> None:
    """Raises `ConfigurationError` unless the settings choose one whole set of engines.

    Only the embedded engines exist so far: settings that name a production engine are refused
    with the variables that do it, rather than silently served by something else.
    """
    named = {
        "AIRBYTE_BASE_URL": settings.airbyte_base_url,
        "SPARK_IMAGE": settings.spark_image,
        "TRINO_HOST": settings.trino_host,
        "S3_BUCKET": settings.s3_bucket,
        "NESSIE_URI": settings.nessie_uri,
        "ICEBERG_REST_URI": settings.iceberg_rest_uri,
    }
    given = sorted(name for name, value in named.items() if value)
    if settings.environment is Environment.PRODUCTION:
        missing = [name for name in PRODUCTION_VARIABLES if not named[name]]
        if not settings.nessie_uri and not settings.iceberg_rest_uri:
            missing.append("NESSIE_URI or ICEBERG_REST_URI")
        problem = f"missing: {', '.join(missing)}" if missing else "all variables are given"
        raise ConfigurationError(
            f"ENVIRONMENT=production never runs on embedded engines ({problem}), and this "
            "version has no adapter for the production engines yet."
        )
    if given:
        raise ConfigurationError(
            f"{', '.join(given)} ask(s) for production engines, which this version has no "
            "adapter for yet. Unset them to run embedded."
        )
    if settings.kubernetes_service_host:
        raise ConfigurationError(
            "Inside a Kubernetes cluster nothing runs embedded: set AIRBYTE_BASE_URL, "
            "SPARK_IMAGE, TRINO_HOST, S3_BUCKET and NESSIE_URI."
        )
