"""Converts the configs that Asgard types into those of Airbyte's connectors."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from app.airbyte.bronze_paths import bucket_key
from app.airbyte.secrets import secret_texts, sure_secrets
from app.errors import InvalidRequest
from app.secret_marks import MASK

if TYPE_CHECKING:
    from app.lakehouse.connection import S3Connection

Config = dict[str, Any]

DEFINITION_IDS: Mapping[str, str] = {
    "postgres": "decd338e-5647-4c0b-adf4-da0e75f5a750",
    "mysql": "435bb9a5-7887-4809-aa58-28c27df0d7ad",
    "mongodb": "b2e713cd-cc36-4c0a-b5bd-b47cb8a0561e",
    "kafka": "d917a47b-8537-4d0d-8c10-36a9928d4265",
}
S3_DESTINATION_ID = "4816b78f-1489-44c1-9060-4b19d5fa9362"
BRONZE = "bronze"
_AIRBYTE_NAMES = {"mongodb": "mongodb-v2"}
_OUR_NAMES = {airbyte: own for own, airbyte in _AIRBYTE_NAMES.items()}
_KAFKA_PROTOCOL = (
    "security_protocol",
    "sasl_mechanism",
    "sasl_jaas_config",
    "oauthbearer_token_endpoint_url",
)
"""Fields that the connector wants in `protocol`."""
_PROVIDERS = {"https": "HTTPS", "http": "HTTPS", "gs": "GCS", "s3": "S3"}


def airbyte_name(type_: str) -> str:
    return _AIRBYTE_NAMES.get(type_, type_)


def our_name(type_: str) -> str:
    return _OUR_NAMES.get(type_, type_)


def source_config(
    type_: str, config: Config, s3: "S3Connection", prefixes: Iterable[str]
) -> Config:
    """`prefixes` are those of the lake's bucket that file sources may read, in addition to
    `bronze/`. Raises `PathRefused` for a file elsewhere in that bucket."""
    match type_:
        case "mysql":
            return {"replication_method": {"method": "STANDARD"}, **config}
        case "mongodb":
            return _mongodb(config)
        case "kafka":
            return _kafka(config)
        case "file":
            return _file(config, s3, prefixes)
        case _:
            return config


def s3_config(config: Mapping[str, Any] | None, s3: "S3Connection") -> Config:
    """Returns the S3 config. None stands for the gateway's own lake, with its own keys."""
    if config is not None:
        return {**config, "s3_bucket_path": str(config["s3_bucket_path"]).strip("/") or BRONZE}
    lake = {
        "s3_bucket_name": s3.bucket,
        "s3_bucket_path": BRONZE,
        "s3_bucket_region": s3.region,
        "s3_endpoint": s3.endpoint,
        "access_key_id": s3.access_key,
        "secret_access_key": s3.secret_key,
        "format": {"format_type": "Parquet", "flattening": "No flattening"},
    }
    return {name: value for name, value in lake.items() if value}


def without_secrets(text: str, config: Config) -> str:
    """Masks the config's secrets in a message from Airbyte, which may quote them."""
    secrets = secret_texts(config) | sure_secrets(config)
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _mongodb(config: Config) -> Config:
    own = {"connection_string", "database", "auth_source", "username", "password"}
    cluster = {
        "cluster_type": "SELF_MANAGED_REPLICA_SET",
        "connection_string": config["connection_string"],
        "databases": [config["database"]],
        "auth_source": config["auth_source"],
        **{name: config[name] for name in ("username", "password") if name in config},
    }
    return {"database_config": cluster, **_rest(config, own)}


def _kafka(config: Config) -> Config:
    own = {"bootstrap_servers", "topic", *_KAFKA_PROTOCOL}
    return {
        "MessageFormat": {"deserialization_type": "JSON"},
        "bootstrap_servers": ",".join(config["bootstrap_servers"]),
        "protocol": {name: config[name] for name in _KAFKA_PROTOCOL if name in config},
        "subscription": {"subscription_type": "subscribe", "topic_pattern": config["topic"]},
        **_rest(config, own),
    }


def _file(config: Config, s3: "S3Connection", prefixes: Iterable[str]) -> Config:
    """Airbyte reads from the web and from buckets. A path is one on Airbyte's host."""
    url = str(config["url"])
    scheme, _, _ = url.partition("://")
    provider: Config = {"storage": _PROVIDERS.get(scheme, "local")}
    if url.startswith(f"s3://{s3.bucket}/") and not s3.endpoint:
        # The gateway's keys read every file of the bucket. The caller may not.
        bucket_key(url, s3.bucket, prefixes)
        keys = {"aws_access_key_id": s3.access_key, "aws_secret_access_key": s3.secret_key}
        provider |= {name: value for name, value in keys.items() if value}
    name = PurePosixPath(url).name.split(".")[0]
    kind = config.get("format") or _format_of(url)
    return {
        "dataset_name": config.get("dataset_name") or name,
        "format": kind,
        "url": url,
        "provider": provider,
    }


def _format_of(url: str) -> str:
    formats = {"csv": "csv", "tsv": "csv", "json": "json", "jsonl": "jsonl", "ndjson": "jsonl",
             "parquet": "parquet", "xlsx": "excel"}  # fmt: skip
    for suffix in reversed(PurePosixPath(url).name.lower().split(".")):
        if suffix in formats:
            return formats[suffix]
    raise InvalidRequest(f"The name {url} does not show the file's format: set `format`.")


def _rest(config: Config, own: set[str]) -> Config:
    return {name: value for name, value in config.items() if name not in own}
