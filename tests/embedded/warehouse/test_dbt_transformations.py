"""Transformations: what the service promises, from definition to deletion."""

import asyncio
import gzip
import io
import tarfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from app.caller import ANONYMOUS
from app.config import ConfigurationError
from app.dbt_transformations.record import TransformationStatus, transformation_id
from app.dbt_transformations.schemas import TransformationCreate
from app.dbt_transformations.views import TransformationView
from app.errors import (
    Conflict,
    IdempotencyMismatch,
    NotFound,
    SqlInvalid,
    SqlJinja,
    SqlRefused,
    TableNotFound,
)
from app.idempotency import IdempotencyKey
from app.runs.model import RunState
from app.runs.submission import Submission
from app.warehouse.dbt.project import DbtProject
from tests.conftest import Lakehouse
from tests.dbt_command import dbt
from tests.harnesses.warehouse import ENDLESS, NUMBERS, WarehouseHarness, unique

FIRST = "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t (k, v)"
SECOND = "SELECT * FROM (VALUES (2, 'B'), (3, 'C')) AS t (k, v)"


async def test_a_transformation_is_built_and_described(harness: WarehouseHarness) -> None:
    name = unique("digits")
    sql = "SELECT n % 10 AS digit, count(*) AS numbers FROM silver.wh_numbers GROUP BY n % 10"
    item = await harness.transform(name, sql, description="Last digits", tags=("x",), owner="me")
    view = TransformationView.of(item)
    assert (view.status, view.row_count) == (TransformationStatus.COMPLETED, 10)
    assert (view.gold_table_name, view.description, view.owner) == (
        f"gold.{name}",
        "Last digits",
        "me",
    )
    assert view.execution_time_seconds is not None
    assert 0 < view.execution_time_seconds < 60
    again, compiled, runs = await harness.service.get(view.transformation_id)
    assert again.record.doc.sql_query == sql
    assert compiled is not None
    assert "iceberg" in compiled
    assert [run.run_id for run in runs] == [view.run_id]
    listed, _ = await harness.service.search(TransformationStatus.COMPLETED, 0, 1000)
    assert view.transformation_id in {item.record.id for item in listed}


async def test_the_same_name_is_a_new_version_with_the_same_id(harness: WarehouseHarness) -> None:
    name = unique("again")
    first = await harness.transform(name, "SELECT 1 AS a")
    second = await harness.transform(name, "SELECT 2 AS b")
    assert second.record.id == first.record.id == transformation_id(name)
    assert second.record.version == first.record.version + 1
    assert await harness.rows(name) == [{"b": 2}]


async def test_an_incremental_merge_run_twice_duplicates_no_rows(
    harness: WarehouseHarness,
) -> None:
    name = unique("merge")
    how: dict[str, Any] = {
        "materialization": "incremental",
        "incremental_strategy": "merge",
        "unique_key": ("k",),
    }
    await harness.transform(name, FIRST, **how)
    item = await harness.transform(name, SECOND, **how)
    assert TransformationView.of(item).row_count == 3
    submission = Submission(ANONYMOUS, None, None, 60)
    await harness.service.run_again(item.record.id, submission, full_refresh=False)
    assert await harness.rows(name) == [{"k": 1, "v": "a"}, {"k": 2, "v": "B"}, {"k": 3, "v": "C"}]
    again, _ = await harness.service.run_again(item.record.id, submission, full_refresh=True)
    assert TransformationView.of(again).row_count == 2


async def test_a_failed_run_is_reported_with_its_cause(harness: WarehouseHarness) -> None:
    name = unique("fails")
    item = await harness.transform(
        name, "SELECT CAST(x AS integer) AS a FROM (VALUES 'no number') AS t (x)"
    )
    view = TransformationView.of(item)
    assert view.status is TransformationStatus.FAILED
    assert view.failure is not None
    assert view.failure.cause == "sql_error"
    assert view.error_message == view.failure.message
    assert "no number" in view.failure.message
    assert view.row_count is None


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"sql_query": "SELECT 1 AS a FROM silver.wh_nubers"}, TableNotFound),
        ({"sql_query": "SELECT nothing FROM silver.wh_numbers"}, SqlInvalid),
        ({"sql_query": "SELECT FROM FROM x"}, SqlRefused),
        ({"description": "{{ env_var('AWS_SECRET_ACCESS_KEY') }}"}, SqlJinja),
        ({"tags": ("{% raw %}",)}, SqlJinja),
        ({"owner": "{# x #}"}, SqlJinja),
        ({"materialization": "incremental", "unique_key": ("zz",)}, SqlInvalid),
    ],
)
async def test_a_definition_that_cannot_be_built_is_refused_and_changes_nothing(
    harness: WarehouseHarness, fields: dict[str, Any], error: type[Exception]
) -> None:
    name = unique("refused")
    with pytest.raises(error):
        await harness.transform(name, **{"sql": fields.pop("sql_query", "SELECT 1 AS a"), **fields})
    with pytest.raises(NotFound):
        await harness.service.get(transformation_id(name))


@pytest.mark.parametrize(
    ("sql", "line", "column"),
    [
        ("SELECT n,\n  nothing FROM silver.wh_numbers", 2, 3),
        ("SELECT b.n AS x\nFROM silver.wh_numbers AS b\n  -- here\nWHERE b.gone > 1", 4, 7),
        ("SELECT n AS a FROM silver.wh_numbers\n  WHERE n + ARRAY[1] > 1", 2, 11),
    ],
)
async def test_an_error_has_its_position_in_the_callers_sql(
    harness: WarehouseHarness, sql: str, line: int, column: int
) -> None:
    with pytest.raises(SqlInvalid) as refused:
        await harness.transform(unique("refused"), sql)
    validation = await harness.service.validate(sql)
    assert validation.columns is None
    position = {"line": line, "column": column}
    assert refused.value.members["position"] == validation.position == position


async def test_a_view_and_a_table_replace_one_another_only_on_request(
    harness: WarehouseHarness,
) -> None:
    name = unique("both")
    await harness.transform(name, "SELECT 1 AS a")
    with pytest.raises(Conflict, match="would replace it with a view"):
        await harness.transform(name, "SELECT 2 AS a", materialization="view")
    await harness.transform(name, "SELECT 2 AS a", materialization="view", replace=True)
    with pytest.raises(Conflict, match="would replace it with a table"):
        await harness.transform(name, "SELECT 3 AS a")
    assert (await harness.engine.preview(f"gold.{name}", 1)).rows == [[2]]


async def test_names_of_foreign_tables_are_refused(harness: WarehouseHarness) -> None:
    with pytest.raises(Conflict, match="data products"):
        await harness.transform("dp_sales", "SELECT 1 AS a")
    name = unique("Case")
    await harness.transform(name, "SELECT 1 AS a")
    with pytest.raises(Conflict):
        await harness.transform(name.lower(), "SELECT 1 AS a")
    foreign = unique("foreign")
    await harness.lakehouse.catalog.run(lambda c: c.create_table(f"gold.{foreign}", _one_column()))
    with pytest.raises(Conflict, match="no transformation created it"):
        await harness.transform(foreign, "SELECT 1 AS a")
    taken = await harness.transform(foreign, "SELECT 1 AS a", replace=True)
    assert TransformationView.of(taken).status is TransformationStatus.COMPLETED


async def test_concurrent_requests_for_one_name_create_one_transformation(
    harness: WarehouseHarness,
) -> None:
    name = unique("race")
    items = await asyncio.gather(
        *(harness.transform(name, f"SELECT {i % 2} AS a", wait=0) for i in range(6))
    )
    assert {item.record.id for item in items} == {transformation_id(name)}
    ends = [await harness.runs.wait(i.run.run_id, 60) for i in items if i.run]
    assert {run.state for run in ends} == {RunState.SUCCEEDED}
    assert len(await harness.rows(name)) == 1


async def test_a_key_gives_the_same_run_and_another_body_is_refused(
    harness: WarehouseHarness,
) -> None:
    name, key = unique("key"), uuid4().hex
    body = TransformationCreate(name=name, sql_query="SELECT 1 AS a")

    async def create(body_hash: str) -> tuple[str, bool]:
        submission = Submission(ANONYMOUS, IdempotencyKey(key, ANONYMOUS, body_hash), None, 60)
        item, claim = await harness.service.create_transformation(body, submission, replace=False)
        assert item.run is not None
        return item.run.run_id, claim.replayed

    first, replayed = await create("same")
    assert not replayed
    assert await create("same") == (first, True)
    with pytest.raises(IdempotencyMismatch):
        await create("other")


async def test_a_transformation_with_a_current_run_cannot_be_deleted(
    harness: WarehouseHarness,
) -> None:
    item = await harness.transform(unique("busy"), ENDLESS, wait=0)
    assert item.run is not None
    with pytest.raises(Conflict) as refused:
        await harness.service.delete(item.record.id, ANONYMOUS, drop_table=False)
    assert refused.value.members["conflicting_id"] == item.run.run_id
    await harness.runs.cancel(item.run.run_id, ANONYMOUS)
    ended = await harness.runs.wait(item.run.run_id, 30)
    assert (ended.state, ended.engine_state) == (RunState.CANCELLED, None)
    await harness.service.delete(item.record.id, ANONYMOUS, drop_table=False)


async def test_a_deleted_transformation_keeps_its_table_by_default(
    harness: WarehouseHarness,
) -> None:
    retained, dropped, view = unique("retained"), unique("dropped"), unique("view")
    for name in (retained, dropped):
        await harness.transform(name, "SELECT 1 AS a")
    await harness.transform(view, "SELECT 1 AS a", materialization="view")
    await harness.service.delete(transformation_id(retained), ANONYMOUS, drop_table=False)
    for name in (dropped, view):
        await harness.service.delete(transformation_id(name), ANONYMOUS, drop_table=True)
    catalog = harness.lakehouse.catalog
    assert await catalog.table(f"gold.{retained}") is not None
    assert await catalog.table(f"gold.{dropped}") is None
    assert await catalog.view(f"gold.{view}") is None
    with pytest.raises(NotFound):
        await harness.service.get(transformation_id(retained))
    back = await harness.transform(retained, "SELECT 2 AS a")
    assert TransformationView.of(back).status is TransformationStatus.COMPLETED


async def test_validation_explains_errors_and_suggests_tables(harness: WarehouseHarness) -> None:
    good = await harness.service.validate("SELECT n FROM silver.wh_numbers")
    assert good.columns is not None
    assert [(c.name, c.type) for c in good.columns] == [("n", "bigint")]
    missing = await harness.service.validate("SELECT n FROM silver.wh_nubers")
    assert missing.columns is None
    assert "silver.wh_numbers" in missing.suggested_tables
    broken = await harness.service.validate("SELECT 1 AS a,\n FROM FROM")
    assert broken.columns is None
    assert broken.position is not None


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT count(*) AS n FROM UNNEST(sequence(1, 100000000000)) AS t(x)", "larger than"),
        ("SELECT typeof(1) AS kind", "typeof"),
    ],
)
async def test_validation_refuses_sql_that_the_engine_does_not_support(
    harness: WarehouseHarness, sql: str, reason: str
) -> None:
    validation = await harness.service.validate(sql)
    assert validation.columns is None
    assert reason in validation.message


async def test_silver_and_gold_are_listed_from_their_metadata(harness: WarehouseHarness) -> None:
    name, view = unique("listed"), unique("listed")
    await harness.transform(name, "SELECT 1 AS a, 'x' AS b", tags=("t",))
    await harness.transform(view, f"SELECT a FROM gold.{name}", materialization="view")
    silver = {info.table: info for info in await harness.service.silver_sources()}
    assert silver["silver.wh_numbers"].rows == NUMBERS
    gold = {table.info.table: table for table in await harness.service.gold_tables()}
    assert gold[f"gold.{name}"].doc is not None
    assert gold[f"gold.{name}"].materialization == "table"
    assert gold[f"gold.{view}"].materialization == "view"
    assert [c.name for c in gold[f"gold.{view}"].info.columns] == ["a"]


async def test_the_project_builds_by_hand_and_gives_the_same_rows(
    lakehouse: Lakehouse, harness: WarehouseHarness, tmp_path: Path
) -> None:
    async with harness.apart(tmp_path) as harness:
        base, view, merged, appended, top = (
            unique(n) for n in ("base", "view", "merged", "appended", "top")
        )
        key: dict[str, Any] = {"materialization": "incremental", "unique_key": ("digit",)}
        await harness.transform(
            base, "SELECT n % 3 AS digit, sum(n) AS total FROM silver.wh_numbers GROUP BY n % 3"
        )
        await harness.transform(
            view,
            f"SELECT digit, total / 2 AS half, 'it''s' AS word FROM gold.{base}",
            materialization="view",
        )
        await harness.transform(merged, f"SELECT digit, half FROM gold.{view}", **key)
        await harness.transform(
            appended,
            f"SELECT digit FROM gold.{base}",
            incremental_strategy="delete_insert",
            **key,
        )
        await harness.transform(
            top, f"SELECT m.digit, m.half, v.word FROM gold.{merged} m JOIN gold.{view} v "
            "ON m.digit = v.digit", description="Made of é, \"quotes\" and 'more'", tags=("t",)
        )  # fmt: skip
        tables = (base, merged, appended, top)
        ours = {name: await harness.rows(name) for name in tables}
        for name in tables:
            await lakehouse.catalog.drop_table(f"gold.{name}")
        await lakehouse.catalog.drop_view(f"gold.{view}")

        await harness.project.open()
        await harness.project.write()
        folder = tmp_path / "dbt"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "profiles.yml").stat().st_mode & 0o777 == 0o600
        for _ in range(2):
            await dbt("build", folder)
            assert {name: await harness.rows(name) for name in tables} == ours
        await dbt("run", folder, "--full-refresh")
        assert {name: await harness.rows(name) for name in tables} == ours

        await harness.service.delete(transformation_id(top), ANONYMOUS, drop_table=True)
        await harness.project.write()
        assert not (folder / "models" / "gold" / f"{top}.sql").exists()
        assert (folder / "models" / "gold" / f"{base}.sql").exists()
        await harness.project.close()


async def test_the_archive_is_the_project_without_its_secrets(harness: WarehouseHarness) -> None:
    name = unique("packed")
    await harness.transform(name, "SELECT n FROM silver.wh_numbers")
    packed = await harness.service.project_archive()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as archive:
        texts = {
            member.name.removeprefix("asgard-dbt/"): file.read().decode()
            for member in archive.getmembers()
            if (file := archive.extractfile(member))
        }
    assert "{{ source('silver', 'wh_numbers') }}" in texts[f"models/gold/{name}.sql"]
    assert {"dbt_project.yml", "profiles.yml", "macros/lake.sql", "README.md"} <= set(texts)
    whole = "".join(texts.values())
    lake = harness.lakehouse.lake
    assert lake.s3.secret_key not in whole
    assert lake.s3.access_key not in whole
    assert str(harness.lakehouse.home) not in whole


async def test_a_directory_that_cannot_be_written_is_named_at_the_start(
    harness: WarehouseHarness, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for number, variable in enumerate(("DBT_PROJECT_DIR", "DBT_PROFILES_DIR")):
        folders = [tmp_path / "one", tmp_path / "two"]
        folders[number] = tmp_path / "file" / "below"
        project = DbtProject(
            lake=harness.lakehouse.lake,
            target=harness.target,
            sql_guard=harness.sql_guard,
            project_dir=folders[0],
            profiles_dir=folders[1],
        )
        with pytest.raises(ConfigurationError, match=variable):
            await project.open()


async def test_other_profiles_are_left_alone(harness: WarehouseHarness, tmp_path: Path) -> None:
    (tmp_path / "profiles.yml").write_text("mine: {target: x}\n")
    project = DbtProject(
        lake=harness.lakehouse.lake,
        target=harness.target,
        sql_guard=harness.sql_guard,
        project_dir=tmp_path / "project",
        profiles_dir=tmp_path,
    )
    await project.open()
    try:
        await project.write()
    finally:
        await project.close()
    profiles = yaml.safe_load((tmp_path / "profiles.yml").read_text())
    assert profiles["mine"] == {"target": "x"}
    assert profiles["asgard"]["outputs"]["lake"]["type"] == harness.target.dialect


def _one_column() -> Any:
    import pyarrow as pa

    return pa.schema([("a", pa.int64())])
