"""Runs the cases on the two engines of each dialect, once for the whole group."""

from pathlib import Path

import pytest
import trino

from tests.integration.dialects import answers
from tests.integration.dialects.report import Pair
from tests.integration.servers.seaweedfs import SeaweedFs
from tests.integration.servers.spark import spark
from tests.integration.servers.trino import start_trino


@pytest.fixture(scope="session")
def duckdb_and_trino(servers_folder: Path, seaweedfs: SeaweedFs) -> Pair:
    """Run DuckDB and Trino. The statements contain their rows, so Trino's catalog is not used."""
    server = start_trino(servers_folder / "trino", seaweedfs.s3, seaweedfs.rest_uri)
    try:
        with trino.dbapi.connect(
            host="127.0.0.1", port=server.port, user="test", timezone="UTC"
        ) as connection:
            return answers.of_duckdb(), answers.of_trino(connection)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def spark_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return spark(tmp_path_factory.mktemp("image")).environment({})


@pytest.fixture(scope="session")
def sail_and_spark(spark_environment: dict[str, str]) -> Pair:
    python = spark_environment["PYSPARK_PYTHON"]
    return answers.of_sail(), answers.of_spark(python, spark_environment)
