"""Trino, Nessie and SeaweedFS: the embedded suites run here again, on these."""

import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.config import Settings
from app.lakehouse.external import external_lakehouse
from tests.conftest import Lakehouse
from tests.harnesses.warehouse import WarehouseHarness, warehouse_harness
from tests.integration.servers.nessie import Nessie, start_nessie
from tests.integration.servers.seaweedfs import SeaweedFs
from tests.integration.servers.trino import Trino, start_trino
from tests.integration.trino import differences

RECORDS_REF = "records"
ON_NESSIE = os.environ.get("ASGARD_IT_CATALOG", "nessie") == "nessie"
"""Else on SeaweedFS's own catalog, as any Iceberg REST catalog is used."""
SAMPLE = float(os.environ.get("ASGARD_IT_SAMPLE", "1"))
"""The share of the tests that run, chosen by `SEED`."""
SEED = int(os.environ.get("ASGARD_IT_SEED") or random.randrange(10**6))
collect_ignore = [] if ON_NESSIE else list(differences.NOT_ON_SEAWEEDFS)


@pytest.fixture(scope="session")
def nessie(servers_folder: Path, seaweedfs: SeaweedFs) -> Iterator[Nessie]:
    server = start_nessie(servers_folder / "nessie", seaweedfs.s3)
    server.create_branch(RECORDS_REF)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def catalog(request: pytest.FixtureRequest, seaweedfs: SeaweedFs) -> dict[str, str]:
    """Return the settings that name the catalog."""
    if ON_NESSIE:
        nessie: Nessie = request.getfixturevalue("nessie")
        return {"nessie_uri": nessie.uri, "nessie_records_ref": RECORDS_REF}
    return {
        "iceberg_rest_uri": seaweedfs.rest_uri,
        "iceberg_rest_warehouse": seaweedfs.warehouse,
        "iceberg_rest_credential": seaweedfs.credential,
    }


@pytest.fixture(scope="session")
def trino(
    request: pytest.FixtureRequest, servers_folder: Path, seaweedfs: SeaweedFs
) -> Iterator[Trino]:
    if ON_NESSIE:
        uri = request.getfixturevalue("nessie").rest_uri()
        more = {}
    else:
        uri = seaweedfs.rest_uri
        more = {
            # A table elsewhere than at its name's place keeps that name when it is dropped.
            "iceberg.unique-table-location": "false",
            "iceberg.rest-catalog.security": "OAUTH2",
            "iceberg.rest-catalog.oauth2.credential": seaweedfs.credential,
            "iceberg.rest-catalog.warehouse": f"s3://{seaweedfs.warehouse}",
        }
    server = start_trino(servers_folder / "trino", seaweedfs.s3, uri, more)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def production(
    tmp_path_factory: pytest.TempPathFactory,
    seaweedfs: SeaweedFs,
    catalog: dict[str, str],
    trino: Trino,
) -> Settings:
    """Return settings as an operator makes them. Ingestion and Spark stay embedded."""
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
        **catalog,
        trino_host="127.0.0.1",
        trino_port=trino.port,
    )


@pytest.fixture(scope="session")
async def lakehouse(production: Settings) -> AsyncIterator[Lakehouse]:
    """Replace the embedded lakehouse for the embedded suites."""
    async with external_lakehouse(production) as lake:
        yield Lakehouse.of(production, lake)


@pytest.fixture(scope="module")
async def harness(
    lakehouse: Lakehouse, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WarehouseHarness]:
    async with warehouse_harness(lakehouse, tmp_path_factory.mktemp("warehouse")) as harness:
        yield harness


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if SAMPLE < 1:
        _keep_a_sample(config, items)
    differing = {**differences.ON_TRINO, **(differences.ON_NESSIE if ON_NESSIE else {})}
    for item in items:
        name = getattr(item, "originalname", item.name)
        if reason := differing.get(name) or differing.get(item.name):
            item.add_marker(pytest.mark.skip(reason=reason))


def _keep_a_sample(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = {id(item) for item in random.Random(SEED).sample(items, round(len(items) * SAMPLE))}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in chosen])
    items[:] = [item for item in items if id(item) in chosen]


def pytest_report_collectionfinish() -> str | None:
    return f"A sample of {SAMPLE:.0%}, chosen by ASGARD_IT_SEED={SEED}" if SAMPLE < 1 else None
