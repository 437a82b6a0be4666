"""Runs the SQL engine with its runs and transformations on the session's lakehouse."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psutil

from app.caller import ANONYMOUS
from app.context.engines import project_target
from app.dbt_transformations.record import TransformationDoc
from app.dbt_transformations.schemas import TransformationCreate
from app.dbt_transformations.service import DbtService, Transformation
from app.lakehouse.records.table import RecordTable
from app.runs.model import Run, RunKind, RunState
from app.runs.service import RunService
from app.runs.submission import RunRequest, Submission
from app.sql.client import SqlGuardClient
from app.sql.model import SqlPolicy
from app.telemetry.calls import Telemetry
from app.telemetry.metrics import Metrics
from app.warehouse.adapter import CreatedEngine
from app.warehouse.adapters import sql_adapter
from app.warehouse.dbt.profiles import ProjectTarget
from app.warehouse.dbt.project import DbtProject
from app.warehouse.definitions import DEFINITION_KEYS
from app.warehouse.engine import ModelSpec, SqlEngine
from app.warehouse.run_handler import ModelRunHandler
from tests.conftest import Lakehouse

ENDLESS = "SELECT count(*) AS n FROM silver.wh_numbers a, silver.wh_numbers b, silver.wh_numbers c"
NUMBERS = 200_000
BUILDERS = {"app.warehouse.duckdb.builder", "app.warehouse.trino.builder"}


def unique(name: str) -> str:
    return f"{name}_{uuid4().hex[:8]}"


@dataclass
class WarehouseHarness:
    lakehouse: Lakehouse
    engine: SqlEngine
    runs: RunService
    sql_guard: SqlGuardClient
    service: DbtService
    project: DbtProject
    metrics: Metrics

    @property
    def target(self) -> ProjectTarget:
        return project_target(self.lakehouse.settings, self.lakehouse.lake)

    @asynccontextmanager
    async def apart(self, home: Path) -> AsyncIterator["WarehouseHarness"]:
        """Yield the same engine with runs, transformations and a project of its own."""
        async with _serving(self.lakehouse, self.engine, self.sql_guard, home) as serving:
            runs, service, project = serving
            yield replace(self, runs=runs, service=service, project=project)

    async def start(self, name: str, sql: str, **more: Any) -> Run:
        spec = ModelSpec(schema_name="gold", name=name, sql=sql, **more)
        request = RunRequest(
            kind=RunKind.DBT,
            target=spec.table,
            spec=spec.model_dump(mode="json"),
        )
        return (await self.runs.start(request, Submission(ANONYMOUS))).run

    async def build(self, name: str, sql: str, **more: Any) -> Run:
        run = await self.start(name, sql, **more)
        return await self.runs.wait(run.run_id, 60)

    async def built(self, name: str, sql: str, **more: Any) -> Run:
        run = await self.build(name, sql, **more)
        assert run.state is RunState.SUCCEEDED, run.failure
        return run

    async def rows(self, name: str) -> list[dict[str, Any]]:
        def read(catalog: Any) -> list[dict[str, Any]]:
            table = catalog.load_table(f"gold.{name}")
            rows: list[dict[str, Any]] = table.scan().to_arrow().to_pylist()
            return sorted(rows, key=repr)

        return await self.lakehouse.catalog.run(read)

    async def snapshot(self, name: str) -> str | None:
        info = await self.lakehouse.catalog.table(f"gold.{name}")
        return info.snapshot_id if info else None

    async def types(self, name: str) -> dict[str, str]:
        info = await self.lakehouse.catalog.table(f"gold.{name}")
        assert info is not None
        return {column.name: column.type for column in info.columns}

    async def transform(
        self, name: str, sql: str, *, wait: float = 60, replace: bool = False, **more: Any
    ) -> Transformation:
        body = TransformationCreate(name=name, sql_query=sql, **more)
        submission = Submission(ANONYMOUS, None, None, wait)
        item, _ = await self.service.create_transformation(body, submission, replace=replace)
        return item


@asynccontextmanager
async def warehouse_harness(lakehouse: Lakehouse, home: Path) -> AsyncIterator[WarehouseHarness]:
    policy = SqlPolicy(bucket=lakehouse.lake.s3.bucket)
    sql_guard = SqlGuardClient(policy, log_path=home / "sql-guard.log")
    metrics = Metrics()
    created = _engine(lakehouse, sql_guard, home, Telemetry(metrics))
    engine = created.engine
    try:
        async with _serving(lakehouse, engine, sql_guard, home) as (runs, service, project):
            await created.warm()
            await lakehouse.catalog.run(_make_numbers)
            yield WarehouseHarness(lakehouse, engine, runs, sql_guard, service, project, metrics)
    finally:
        await created.close()
        await sql_guard.close()


async def computing(harness: WarehouseHarness, run: Run) -> bool:
    """Return whether dbt has logged that it runs the SQL."""
    return "START" in await harness.runs.logs(run.run_id)


def builders(harness: WarehouseHarness) -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [c for c in children if any(part in BUILDERS for part in c.cmdline())]


def _engine(
    lakehouse: Lakehouse, sql_guard: SqlGuardClient, home: Path, telemetry: Telemetry
) -> CreatedEngine:
    settings = lakehouse.settings.model_copy(update={"asgard_home": home})
    surroundings = SimpleNamespace(
        settings=settings,
        lake=lakehouse.lake,
        builder_lake=lakehouse.builder_lake,
        publisher_lake=lakehouse.publisher_lake,
        catalog=lakehouse.catalog,
        store=lakehouse.store,
        sql_guard=sql_guard,
        telemetry=telemetry,
    )
    return sql_adapter(settings).create(surroundings)  # type: ignore[arg-type]


@asynccontextmanager
async def _serving(
    lakehouse: Lakehouse, engine: SqlEngine, sql_guard: SqlGuardClient, home: Path
) -> AsyncIterator[tuple[RunService, DbtService, DbtProject]]:
    catalog, folder = lakehouse.catalog, home / "dbt"
    records = RecordTable(
        catalog, unique("transformations"), TransformationDoc, keys=DEFINITION_KEYS
    )
    runs = RunService(
        store=lakehouse.store,
        catalog=catalog,
        settings=lakehouse.settings,
        handlers={RunKind.DBT: ModelRunHandler(engine, catalog, records)},
    )
    target = project_target(lakehouse.settings, lakehouse.lake)
    project = DbtProject(
        lake=lakehouse.lake,
        target=target,
        sql_guard=sql_guard,
        project_dir=folder,
        profiles_dir=folder,
    )
    service = DbtService(
        records=records,
        runs=runs,
        sql_guard=sql_guard,
        engine=engine,
        catalog=catalog,
        project=project,
    )
    project.follow(service.models)
    await runs.open()
    try:
        yield runs, service, project
    finally:
        await runs.close()


def _make_numbers(catalog: Any) -> None:
    import pyarrow as pa

    from app.lakehouse.publish import publish

    rows = pa.table({"n": range(NUMBERS), "half": [i / 2 for i in range(NUMBERS)]})
    reader = pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches())
    publish.replace_table(catalog, "silver.wh_numbers", reader, run_id=uuid4().hex)
