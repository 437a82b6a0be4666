"""One model that cannot be written leaves the others in the dbt project."""

import gzip
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from app.lakehouse.connection import CatalogConnection, Lake, S3Connection
from app.sql.client import SqlGuardClient
from app.sql.model import SqlPolicy
from app.warehouse.dbt.project import DbtProject
from app.warehouse.definitions import DefinedModel
from app.warehouse.duckdb.dbt_project import DuckDbTarget
from app.warehouse.engine import ModelSpec
from tests.harnesses.dbt_models import defined
from tests.patience import until

LAKE = Lake(
    S3Connection("http://127.0.0.1:1", "us-east-1", "the-key", "the-secret", "lake"),
    CatalogConnection("http://127.0.0.1:2", "warehouse", credential="the-key:the-secret"),
)
GOOD = {"first": "SELECT 1 AS a", "second": "SELECT a FROM gold.first"}
# Records of older versions have models that are now refused, and Trino takes more than DuckDB.
REFUSED = {"forbidden": "SELECT unheard_of(1) AS a", "foreign": "SELECT current_time AS a"}


class AskedGuard(SqlGuardClient):
    """Counts the questions to the workers."""

    asked: int = 0

    async def _call(self, op: str, **message: Any) -> Any:
        self.asked += 1
        return await super()._call(op, **message)


@pytest.fixture(scope="module")
async def guard(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AskedGuard]:
    log_path = tmp_path_factory.mktemp("guard") / "judge.log"
    guard = AskedGuard(SqlPolicy(bucket="lake"), log_path=log_path)
    yield guard
    await guard.close()


def project_of(guard: SqlGuardClient, folder: Path, models: dict[str, str]) -> DbtProject:
    project = DbtProject(
        lake=LAKE,
        target=DuckDbTarget(LAKE),
        sql_guard=guard,
        project_dir=folder,
        profiles_dir=folder,
    )

    async def specs() -> list[DefinedModel]:
        return [
            defined(ModelSpec(schema_name="gold", name=name, sql=sql))
            for name, sql in models.items()
        ]

    project.follow(specs)
    return project


def texts_of(packed: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as archive:
        return {
            member.name.removeprefix("asgard-dbt/"): file.read().decode()
            for member in archive.getmembers()
            if (file := archive.extractfile(member))
        }


async def test_a_model_that_cannot_be_written_is_left_out_and_named(
    guard: AskedGuard, tmp_path: Path
) -> None:
    reader = {"reader": "SELECT a FROM gold.foreign"}
    project = project_of(guard, tmp_path, {**GOOD, **REFUSED, **reader})
    texts = texts_of(await project.archive())
    models = {Path(name).stem for name in texts if name.endswith(".sql") and "gold" in name}
    assert models == {"first", "second", "reader"}
    assert "ref('first')" in texts["models/gold/second.sql"]
    assert "source('gold', 'foreign')" in texts["models/gold/reader.sql"]
    assert "- `foreign`: CURRENT_TIME is not supported" in texts["README.md"]
    assert "- `forbidden`: The function 'unheard_of' is not allowed." in texts["README.md"]
    whole = texts_of(await project_of(guard, tmp_path, GOOD).archive())
    assert "left out" not in whole["README.md"]


async def test_a_refused_model_is_asked_and_logged_once(guard: AskedGuard, tmp_path: Path) -> None:
    models = {**GOOD, **REFUSED}
    project = project_of(guard, tmp_path, models)
    with structlog.testing.capture_logs() as logged:
        await project.open()
        try:
            await until((tmp_path / "models/gold/second.sql").exists)
            asked = guard.asked
            await project.write()
            await project.archive()
            models["third"] = "SELECT 3 AS a"
            project.changed()
            await until((tmp_path / "models/gold/third.sql").exists)
        finally:
            await project.close()
    assert guard.asked == asked + 2
    told = [entry["model"] for entry in logged if entry["event"] == "dbt_model_left_out"]
    assert sorted(told) == ["forbidden", "foreign"]
    assert "dbt_project_not_written" not in {entry["event"] for entry in logged}


async def test_models_with_the_same_sql_are_asked_once(guard: AskedGuard, tmp_path: Path) -> None:
    same = {f"good_{number}": "SELECT 5 AS a" for number in range(9)}
    same |= {f"bad_{number}": REFUSED["forbidden"] for number in range(9)}
    project = project_of(guard, tmp_path, same)
    asked = guard.asked
    await project.write()
    assert guard.asked == asked + 3
    assert len(list((tmp_path / "models/gold").glob("*.sql"))) == 9
    assert (tmp_path / "README.md").read_text().count("- `bad_") == 9


async def test_former_sql_is_forgotten(guard: AskedGuard, tmp_path: Path) -> None:
    models = {**GOOD, **REFUSED}
    project = project_of(guard, tmp_path, models)
    await project.write()
    models["first"] = "SELECT 2 AS a"
    del models["forbidden"]
    await project.write()
    remembered = {*project._reads, *(sql for sql, _ in (*project._texts, *project._refused))}
    assert remembered == set(models.values())


async def test_an_unforeseen_error_of_one_model_does_not_end_the_writing(
    guard: AskedGuard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = dict(GOOD)
    project = project_of(guard, tmp_path, models)
    content, failures = project._content, 0

    async def failing() -> dict[str, str]:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise KeyError("asgard_relation_7")
        return await content()

    monkeypatch.setattr(project, "_content", failing)
    monkeypatch.setattr("app.warehouse.dbt.project.RETRY_SECONDS", 0.01)
    await project.open()
    try:
        await until(lambda: list(tmp_path.rglob("second.sql")))
    finally:
        await project.close()
    assert failures > 1
