"""Airbyte's own models accept the configs that the adapter sends."""

from typing import Any

import pytest
from airbyte_api import models

from app.airbyte.remote.configs import s3_config, source_config
from app.airbyte.source_configs import TYPED, S3Config
from app.lakehouse.connection import S3Connection

LAKE = S3Connection(
    endpoint="http://127.0.0.1:9000",
    region="eu-west-1",
    access_key="key",
    secret_key="s3cret",
    bucket="lake",
)
SQL = {"host": "db", "database": "shop", "username": "reader", "password": "s3cret"}
MONGO = {"connection_string": "mongodb://reader:s3cret@db/", "database": "shop"}


def sent(type_: str, **config: Any) -> dict[str, Any]:
    typed = TYPED[type_].model_validate(config).model_dump(exclude_none=True)
    return source_config(type_, {**config, **typed}, LAKE, ())


def test_postgres() -> None:
    parsed = models.SourcePostgres.model_validate(sent("postgres", **SQL))
    assert (parsed.host, parsed.port, parsed.password) == ("db", 5432, "s3cret")
    assert parsed.ssl_mode is not None


def test_mysql() -> None:
    parsed = models.SourceMysql.model_validate(sent("mysql", **SQL))
    assert parsed.replication_method.method is not None
    assert parsed.replication_method.method.value == "STANDARD"


def test_mongodb() -> None:
    parsed = models.SourceMongodbV2.model_validate(sent("mongodb", **MONGO))
    cluster = parsed.database_config
    assert isinstance(cluster, models.SelfManagedReplicaSet)
    assert (cluster.connection_string, cluster.databases) == (MONGO["connection_string"], ["shop"])
    assert cluster.auth_source == "admin"


@pytest.mark.parametrize(
    ("url", "kind", "storage"),
    [
        ("https://example.com/data/people.csv.gz", "csv", "HTTPS"),
        ("s3://elsewhere/people.parquet", "parquet", "S3"),
        ("gs://elsewhere/people.jsonl", "jsonl", "GCS"),
        ("/local/people.json", "json", "local"),
    ],
)
def test_file(url: str, kind: str, storage: str) -> None:
    parsed = models.SourceFile.model_validate(sent("file", url=url))
    assert (parsed.dataset_name, parsed.url) == ("people", url)
    assert parsed.format_ is not None
    assert parsed.format_.value == kind
    assert parsed.provider.STORAGE.value == storage


def test_s3() -> None:
    fields = {
        "s3_bucket_name": "lake",
        "s3_bucket_region": "eu-west-1",
        "access_key_id": "key",
        "secret_access_key": "s3cret",
    }
    for config in (None, S3Config.model_validate(fields).model_dump()):
        body = {**s3_config(config, LAKE), "destinationType": "s3"}
        parsed = models.DestinationS3.model_validate(body)
        assert (parsed.s3_bucket_name, parsed.s3_bucket_path) == ("lake", "bronze")
        assert (parsed.access_key_id, parsed.secret_access_key) == ("key", "s3cret")
        assert isinstance(parsed.format_, models.DestinationS3ParquetColumnarStorage)


def test_kafka_matches_its_documented_spec() -> None:
    """The SDK has no model for Kafka."""
    assert sent("kafka", bootstrap_servers=["a:9092", "b:9092"], topic="clicks", group_id="g") == {
        "MessageFormat": {"deserialization_type": "JSON"},
        "bootstrap_servers": "a:9092,b:9092",
        "protocol": {"security_protocol": "PLAINTEXT"},
        "subscription": {"subscription_type": "subscribe", "topic_pattern": "clicks"},
        "group_id": "g",
    }
