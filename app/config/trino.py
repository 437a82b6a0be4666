from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.config.section import Section
from app.config.values import CatalogName, Directory, Host, Port, SchemaName, Secret, Trust, Word


class Trino(Section):
    model_config = SettingsConfigDict(title="Trino and dbt")

    trino_host: Host | None = Field(
        default=None, examples=["trino.data-platform.svc.cluster.local"]
    )
    """The host name of Trino's coordinator. Unset: models are built in the gateway itself."""
    trino_port: Port = 8080
    """Of TRINO_HOST."""
    trino_user: Word = "dbt"
    """As whom Asgard and dbt work in Trino."""
    trino_password: Secret | None = Field(default=None, examples=["your-password"])
    """Basic authentication, over https only."""
    trino_jwt_token: Secret | None = Field(default=None, examples=["your-token"])
    """A bearer token, over https only."""
    trino_http_scheme: Literal["http", "https"] | None = Field(default=None, examples=["https"])
    """Default: https with a password or a token, else http."""
    trino_verify: Trust = Field(default="true", examples=["/etc/asgard/trino-ca.pem"])
    """Whether and by which authority Trino's certificate is checked."""
    trino_catalog: CatalogName = "iceberg"
    """The Iceberg catalog of Trino that shows the same tables as NESSIE_URI or ICEBERG_REST_URI."""
    silver_schema: SchemaName = "silver"
    """The schema of Spark's tables; `silver.t` means it in clients' SQL."""
    gold_schema: SchemaName = "gold"
    """The schema of dbt's models and of data products; `gold.t` means it in clients' SQL."""
    dbt_project_dir: Directory | None = Field(default=None, examples=["/tmp/dbt_projects"])  # noqa: S108
    """Where the generated dbt project is kept. Default: `/tmp/dbt_projects`, embedded
    `$ASGARD_HOME/dbt`. It may not be a link, or belong to another user."""
    dbt_profiles_dir: Directory | None = Field(default=None, examples=["/etc/asgard/dbt"])
    """Where the generated profiles.yml is kept. Default: DBT_PROJECT_DIR."""
    dbt_workers: int = Field(default=2, ge=1, le=16)
    """Processes that hold dbt and build models, one at a time each."""
