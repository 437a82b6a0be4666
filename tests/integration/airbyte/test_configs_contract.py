"""What the adapter sends for the configs that Asgard types, judged by Airbyte's own models."""

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
    found = models.SourcePostgres.model_validate(sent("postgres", **SQL))
    assert (found.host, found.port, found.password) == ("db", 5432, "s3cret")
    assert found.ssl_mode is not None


def test_mysql() -> None:
    found = models.SourceMysql.model_validate(sent("mysql", **SQL))
    assert found.replication_method.method is not None
    assert found.replication_method.method.value == "STANDARD"


def test_mongodb() -> None:
    found = models.SourceMongodbV2.model_validate(sent("mongodb", **MONGO))
    cluster = found.database_config
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
    found = models.SourceFile.model_validate(sent("file", url=url))
    assert (found.dataset_name, found.url) == ("people", url)
    assert found.format_ is not None
    assert found.format_.value == kind
    assert found.provider.STORAGE.value == storage


def test_s3() -> None:
    given = {
        "s3_bucket_name": "lake",
        "s3_bucket_region": "eu-west-1",
        "access_key_id": "key",
        "secret_access_key": "s3cret",
    }
    for config in (None, S3Config.model_validate(given).model_dump()):
        body = {**s3_config(config, LAKE), "destinationType": "s3"}
        found = models.DestinationS3.model_validate(body)
        assert (found.s3_bucket_name, found.s3_bucket_path) == ("lake", "bronze")
        assert (found.access_key_id, found.secret_access_key) == ("key", "s3cret")
        assert isinstance(found.format_, models.DestinationS3ParquetColumnarStorage)


def test_kafka_as_its_documented_spec_has_it() -> None:
    """The SDK has no model of this one."""
    assert sent("kafka", bootstrap_servers=["a:9092", "b:9092"], topic="clicks", group_id="g") == {
        "MessageFormat": {"deserialization_type": "JSON"},
        "bootstrap_servers": "a:9092,b:9092",
        "protocol": {"security_protocol": "PLAINTEXT"},
        "subscription": {"subscription_type": "subscribe", "topic_pattern": "clicks"},
        "group_id": "g",
    }
