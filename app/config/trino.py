from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.config.section import Section, Technology
from app.config.values import CatalogName, Directory, Host, Port, SchemaName, Secret, Trust, Word


class Trino(Section):
    model_config = SettingsConfigDict(title="Trino and dbt")
    technology = Technology("sql", "trino", ("trino_host",), workers_connect=False)

    trino_host: Host | None = Field(
        default=None, examples=["trino.data-platform.svc.cluster.local"]
    )
    """Host name of the Trino coordinator. If unset, models are built in the gateway itself."""
    trino_port: Port = 8080
    """Port of TRINO_HOST."""
    trino_user: Word = "dbt"
    """Trino user for Asgard and dbt."""
    trino_password: Secret | None = Field(default=None, examples=["your-password"])
    """Password for basic authentication, over https only."""
    trino_jwt_token: Secret | None = Field(default=None, examples=["your-token"])
    """Bearer token, over https only."""
    trino_http_scheme: Literal["http", "https"] | None = Field(default=None, examples=["https"])
    """Scheme of TRINO_HOST. Default: https with a password or a token, otherwise http."""
    trino_verify: Trust = Field(default="true", examples=["/etc/asgard/trino-ca.pem"])
    """Whether Trino's certificate is verified, or the file of the CA to trust."""
    trino_catalog: CatalogName = "iceberg"
    """Iceberg catalog in Trino, with the same tables as NESSIE_URI or ICEBERG_REST_URI."""
    silver_schema: SchemaName = "silver"
    """Schema of Spark's tables. In clients' SQL, `silver.t` refers to it."""
    gold_schema: SchemaName = "gold"
    """Schema of dbt models and data products. In clients' SQL, `gold.t` refers to it."""
    dbt_project_dir: Directory | None = Field(default=None, examples=["/tmp/dbt_projects"])  # noqa: S108
    """Directory of the generated dbt project. Default: `/tmp/dbt_projects`, or `$ASGARD_HOME/dbt`
    if embedded. It must not be a link or belong to another user."""
    dbt_profiles_dir: Directory | None = Field(default=None, examples=["/etc/asgard/dbt"])
    """Directory of the generated profiles.yml. Default: DBT_PROJECT_DIR."""
    dbt_workers: int = Field(default=2, ge=1, le=16)
    """Number of dbt worker processes. Each builds one model at a time."""
