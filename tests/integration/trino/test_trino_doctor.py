"""`asgard doctor` checks Trino and Nessie, and a Trino whose user may only read."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import Settings
from app.doctor.engines import trino_findings
from app.doctor.lake import lake_findings
from app.doctor.report import CheckResult
from tests.conftest import Lakehouse
from tests.integration.servers.nessie import Nessie
from tests.integration.servers.seaweedfs import SeaweedFs
from tests.integration.servers.trino import Trino, start_trino
from tests.ports import free_port

WRITE = ["SELECT", "INSERT", "DELETE", "UPDATE", "OWNERSHIP"]
RULES = {
    "catalogs": [{"allow": "all"}],
    "tables": [{"user": "reader", "privileges": ["SELECT"]}, {"privileges": WRITE}],
}


@pytest.fixture(scope="module")
def guarded(servers_folder: Path, seaweedfs: SeaweedFs, nessie: Nessie) -> Iterator[Trino]:
    """Start a Trino with access rules: `reader` may only read."""
    folder = servers_folder / "trino-guarded"
    folder.mkdir()
    (folder / "rules.json").write_text(json.dumps(RULES))
    access = folder / "access-control.properties"
    access.write_text(f"access-control.name=file\nsecurity.config-file={folder / 'rules.json'}\n")
    config = {"access-control.config-files": str(access)}
    server = start_trino(folder, seaweedfs.s3, nessie.rest_uri(), config=config)
    yield server
    server.stop()


def seen(findings: list[CheckResult]) -> dict[str, bool]:
    return {finding.what: finding.ok for finding in findings}


async def test_what_works_is_told_and_nothing_is_left(
    lakehouse: Lakehouse, production: Settings, trino: Trino
) -> None:
    found = [*await lake_findings(production), *await trino_findings(production)]
    assert [finding for finding in found if not finding.ok] == []
    assert list(seen(found)) == [
        "S3 put, get, list, delete",
        "S3 conditional PUT",
        "S3 keeps objects",
        "Iceberg catalog",
        "Iceberg catalog, writing",
        "Iceberg catalog, branch records",
        "Iceberg catalog, branch records, writing",
        "Trino",
        "Trino schemas",
        "Trino, writing",
    ]
    [reached] = [finding.message for finding in found if finding.what == "Trino"]
    assert "version 476 as dbt" in reached
    assert trino.execute("SHOW TABLES FROM iceberg.gold LIKE '%doctor%'") == []
    assert trino.execute("SHOW TABLES FROM iceberg.asgard_staging LIKE '%doctor%'") == []
    assert await lakehouse.store.list("asgard/doctor/") == []


async def test_a_branch_that_is_missing_and_a_nessie_that_nobody_serves(
    production: Settings,
) -> None:
    nowhere = production.model_copy(update={"nessie_records_ref": "nowhere"})
    branch = (await lake_findings(nowhere))[-1]
    assert (branch.what, branch.ok) == ("Iceberg catalog, branch nowhere", False)
    assert "Create the branch NESSIE_RECORDS_REF" in branch.advice
    gone = {"nessie_uri": f"http://127.0.0.1:{free_port()}/api/v1", "nessie_records_ref": None}
    catalog = (await lake_findings(production.model_copy(update=gone)))[-1]
    assert (catalog.what, catalog.ok) == ("Iceberg catalog", False)
    assert "cannot be reached" in catalog.message
    assert catalog.advice.startswith("Check NESSIE_URI and NESSIE_REF")


async def test_a_schema_that_trino_lacks(production: Settings) -> None:
    lacking = production.model_copy(update={"silver_schema": "platinum"})
    _, schemas, writing = await trino_findings(lacking)
    assert (schemas.ok, writing.ok) == (False, True)
    assert schemas.message == "catalog iceberg has no schema platinum"
    assert "./script/create-schemas.sh" in schemas.advice


async def test_who_may_only_read_is_told_so(
    production: Settings, lakehouse: Lakehouse, guarded: Trino
) -> None:
    reader = {"trino_port": guarded.port, "trino_user": "reader"}
    found = await trino_findings(production.model_copy(update=reader))
    assert seen(found) == {"Trino": True, "Trino schemas": True, "Trino, writing": False}
    assert "Access Denied: Cannot create table iceberg.gold.asgard_doctor" in found[2].message
    assert "TRINO_USER" in found[2].advice
    allowed = production.model_copy(update={"trino_port": guarded.port})
    assert all(seen(await trino_findings(allowed)).values())
