from typing import Annotated

from pydantic import Field
from pydantic_settings import NoDecode, SettingsConfigDict

from app.config.section import Section
from app.config.values import (
    AbsoluteDirectory,
    AsList,
    Connector,
    Line,
    LoginUrl,
    Prefix,
    Seconds,
    Secret,
    Word,
)


class Airbyte(Section):
    model_config = SettingsConfigDict(title="Airbyte and ingestion")

    airbyte_base_url: LoginUrl | None = Field(
        default=None,
        examples=["http://airbyte.airbyte.svc.cluster.local:8001/api/public/v1"],
    )
    """Airbyte's public API. Unset: connectors run in the gateway itself."""
    airbyte_username: Line | None = Field(default=None, examples=["airbyte"])
    """With AIRBYTE_PASSWORD: basic authentication."""
    airbyte_password: Secret | None = Field(default=None, examples=["your-password"])
    """Of AIRBYTE_USERNAME."""
    airbyte_client_id: Word | None = Field(default=None, examples=["your-client-id"])
    """With AIRBYTE_CLIENT_SECRET: an application of Airbyte; goes before name and password."""
    airbyte_client_secret: Secret | None = Field(default=None, examples=["your-client-secret"])
    """Of AIRBYTE_CLIENT_ID."""
    airbyte_workspace: Line | None = Field(default=None, examples=["main"])
    """Name or id of the workspace. Default: the only one that there is."""
    airbyte_timeout: Seconds = Field(default=30, gt=0, le=3600)
    """How long Airbyte may take to answer; where it asks a source, six times that."""
    connectors_allowed: Annotated[tuple[Connector, ...], NoDecode, AsList] = Field(
        default=(), examples=["airbyte-source-github==1.8.0"]
    )
    """More connectors for the embedded engine, as pinned requirements."""
    ingestion_allowed_dirs: Annotated[tuple[AbsoluteDirectory, ...], NoDecode, AsList] = Field(
        default=(), examples=["/data/incoming,/data/archive"]
    )
    """Local directories that a `file` source may read, besides `$ASGARD_HOME/data`. They may not
    contain ASGARD_HOME, key files or dbt folders, nor lie in them."""
    s3_allowed_prefixes: Annotated[tuple[Prefix, ...], NoDecode, AsList] = Field(
        default=(), examples=["landing/"]
    )
    """Key prefixes of the bucket that SQL and file sources may read, besides `bronze/`."""
