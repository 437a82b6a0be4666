from typing import Annotated

from pydantic import Field
from pydantic_settings import NoDecode, SettingsConfigDict

from app.config.section import Section, Technology
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
    technology = Technology("ingestion", "airbyte", ("airbyte_base_url",))

    airbyte_base_url: LoginUrl | None = Field(
        default=None,
        examples=["http://airbyte.airbyte.svc.cluster.local:8001/api/public/v1"],
    )
    """URL of Airbyte's public API. If unset, connectors run in the gateway itself."""
    airbyte_username: Line | None = Field(default=None, examples=["airbyte"])
    """User name for basic authentication. Requires AIRBYTE_PASSWORD."""
    airbyte_password: Secret | None = Field(default=None, examples=["your-password"])
    """Password of AIRBYTE_USERNAME."""
    airbyte_client_id: Word | None = Field(default=None, examples=["your-client-id"])
    """Client ID of an Airbyte application. Requires AIRBYTE_CLIENT_SECRET, and takes precedence
    over user name and password."""
    airbyte_client_secret: Secret | None = Field(default=None, examples=["your-client-secret"])
    """Client secret of AIRBYTE_CLIENT_ID."""
    airbyte_workspace: Line | None = Field(default=None, examples=["main"])
    """Name or ID of the Airbyte workspace. Default: the only existing workspace."""
    airbyte_timeout: Seconds = Field(default=30, gt=0, le=3600)
    """Time limit for a response from Airbyte. Requests that make it query a source get six times
    as long."""
    connectors_allowed: Annotated[tuple[Connector, ...], NoDecode, AsList] = Field(
        default=(), examples=["airbyte-source-github==1.8.0"]
    )
    """Additional connectors for the embedded engine, as pinned requirements."""
    ingestion_allowed_dirs: Annotated[tuple[AbsoluteDirectory, ...], NoDecode, AsList] = Field(
        default=(), examples=["/data/incoming,/data/archive"]
    )
    """Local directories that a `file` source may read, in addition to `$ASGARD_HOME/data`. They
    must not contain ASGARD_HOME, key files or dbt folders, or be inside one of these."""
    s3_allowed_prefixes: Annotated[tuple[Prefix, ...], NoDecode, AsList] = Field(
        default=(), examples=["landing/"]
    )
    """Key prefixes of the bucket that SQL and file sources may read, in addition to `bronze/`."""
