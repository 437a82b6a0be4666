"""The configs of sources and destinations that Asgard types itself. The specs of their connectors
describe all others."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
)
from pydantic_core.core_schema import ValidationInfo

from app.airbyte.local.source_types import SOURCE_TYPES

Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Port = Annotated[int, Field(ge=1, le=65535)]


class PostgresConfig(BaseModel):
    host: Text
    port: Port = 5432
    database: Text
    username: Text
    password: str
    ssl_mode: dict[str, Any] = {"mode": "require"}
    replication_method: dict[str, Any] = {"method": "Standard"}


class MySqlConfig(BaseModel):
    host: Text
    port: Port = 3306
    database: Text
    username: Text
    password: str


class MongoDbConfig(BaseModel):
    connection_string: Text
    database: Text
    auth_source: Text = "admin"


class KafkaConfig(BaseModel):
    bootstrap_servers: Annotated[list[Text], Field(min_length=1, max_length=100, fail_fast=True)]
    protocol: dict[str, Any] | None = Field(
        None, description="The protocol in the connector's own form, instead of the fields below."
    )
    security_protocol: Text = "PLAINTEXT"
    sasl_mechanism: Text | None = Field(None, validate_default=True)
    sasl_jaas_config: Text | None = Field(
        None, validate_default=True, json_schema_extra={"airbyte_secret": True}
    )
    topic: Text
    group_id: Text

    @field_validator("sasl_mechanism", "sasl_jaas_config")
    @classmethod
    def _with_sasl(cls, value: str | None, info: ValidationInfo) -> str | None:
        protocol = str(info.data.get("security_protocol"))
        if info.data.get("protocol") is not None:
            return value
        if protocol.startswith("SASL_") and value is None:
            raise ValueError(f"is required with {protocol}")
        if value is not None and not protocol.startswith("SASL_"):
            raise ValueError("is only for SASL_PLAINTEXT and SASL_SSL")
        return value


TYPED: Mapping[str, type[BaseModel]] = {
    **{type_: source.config for type_, source in SOURCE_TYPES.items()},
    "postgres": PostgresConfig,
    "mysql": MySqlConfig,
    "mongodb": MongoDbConfig,
    "kafka": KafkaConfig,
}


class S3Config(BaseModel):
    model_config = ConfigDict(extra="allow")

    s3_bucket_name: Text = Field(description="Name of the bucket.")
    s3_bucket_region: Text = Field(description="Region of the bucket.")
    access_key_id: Text = Field(description="Access key of the bucket.")
    secret_access_key: Text = Field(description="Secret of the access key.")
    s3_bucket_path: Annotated[str, StringConstraints(max_length=1024)] = Field(
        "", description="Prefix of the files in the bucket. Empty means `bronze`."
    )
    format: dict[str, Any] = Field(
        {"format_type": "Parquet", "flattening": "No flattening"},
        description="Format of the files, as Airbyte's S3 destination takes it.",
    )
