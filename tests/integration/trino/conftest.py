"""Trino, Nessie and SeaweedFS: the embedded suites run here again, on these."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.config import Settings
from app.lakehouse.external import external_lakehouse
from tests.conftest import Lakehouse
from tests.integration.servers.nessie import Nessie, start_nessie
from tests.integration.servers.seaweedfs import SeaweedFs
from tests.integration.servers.trino import Trino, start_trino
from tests.integration.trino.differences import DIFFERENCES

# The suites of tests/embedded import their helpers by plain names.
sys.path.insert(0, str(Path(__file__).parents[2] / "embedded"))

RECORDS_REF = "records"


@pytest.fixture(scope="session")
def nessie(servers_folder: Path, seaweedfs: SeaweedFs) -> Iterator[Nessie]:
    server = start_nessie(servers_folder / "nessie", seaweedfs.s3)
    server.create_branch(RECORDS_REF)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def trino(servers_folder: Path, seaweedfs: SeaweedFs, nessie: Nessie) -> Iterator[Trino]:
    server = start_trino(servers_folder / "trino", seaweedfs.s3, nessie.rest_uri())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def production(
    tmp_path_factory: pytest.TempPathFactory, seaweedfs: SeaweedFs, nessie: Nessie, trino: Trino
) -> Settings:
    """As an operator sets them; ingestion and Spark stay embedded."""
    home = tmp_path_factory.mktemp("asgard")
    return Settings(
        _env_file=None,
        asgard_home=home,
        asgard_embedded="ingestion,spark",
        dbt_project_dir=home / "dbt",
        s3_bucket=seaweedfs.s3.bucket,
        s3_endpoint=seaweedfs.s3.endpoint,
        aws_access_key_id=seaweedfs.s3.access_key,
        aws_secret_access_key=seaweedfs.s3.secret_key,
        nessie_uri=nessie.uri,
        nessie_records_ref=RECORDS_REF,
        trino_host="127.0.0.1",
        trino_port=trino.port,
    )


@pytest.fixture(scope="session")
async def lakehouse(production: Settings) -> AsyncIterator[Lakehouse]:
    """In place of the embedded one, for the embedded suites."""
    async with external_lakehouse(production) as lake:
        yield Lakehouse(production, production.home, lake.lake, lake.store, lake.catalog)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = getattr(item, "originalname", item.name)
        if reason := DIFFERENCES.get(name) or DIFFERENCES.get(item.name):
            item.add_marker(pytest.mark.skip(reason=reason))
