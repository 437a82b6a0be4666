"""Airbyte gets the gateway's keys of the lake on AWS only for files that callers may read."""

import pytest

from app.airbyte.remote.configs import source_config
from app.errors import PathRefused
from app.lakehouse.connection import S3Connection

LAKE = S3Connection(
    endpoint=None, region="eu-west-1", access_key="key", secret_key="s3cret", bucket="lake"
)


@pytest.mark.parametrize(
    "path",
    [
        "asgard/runs/open/1.csv",
        "bronze/../asgard/runs/open/1.csv",
        "bronze/%2e%2e/asgard/runs/open/1.csv",
        "warehouse/silver/orders/1.parquet",
        "landingzone/1.csv",
    ],
)
def test_other_files_of_the_lake_are_refused(path: str) -> None:
    with pytest.raises(PathRefused):
        source_config("file", {"url": f"s3://lake/{path}"}, LAKE, ("landing/",))


@pytest.mark.parametrize("path", ["bronze/orders/1.csv", "landing/1.csv"])
def test_files_that_callers_may_read_get_the_keys(path: str) -> None:
    found = source_config("file", {"url": f"s3://lake/{path}"}, LAKE, ("landing/",))
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "s3cret"}
    assert found["provider"] == {"storage": "S3", **keys}


def test_files_of_other_buckets_get_no_keys() -> None:
    found = source_config("file", {"url": "s3://elsewhere/asgard/1.csv"}, LAKE, ())
    assert found["provider"] == {"storage": "S3"}
