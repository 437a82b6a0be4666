"""The embedded SQL engine: dbt-duckdb in warm workers, on the Iceberg catalog of all engines."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

from app.errors import (
    AsgardError,
    EngineFailed,
    NotFound,
    SqlInvalid,
    SqlRefused,
    TableNotFound,
)
from app.lakehouse.catalog import RUN_ID_PROPERTY, Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.outputs import RunOutput
from app.lakehouse.publish.leftovers import Leftovers
from app.lakehouse.publish.published import ExpectedSnapshot
from app.lakehouse.publish.publishers import Publishers
from app.lakehouse.storage import ObjectStore
from app.lakehouse.tables import Column, TableInfo, ViewInfo
from app.processes import WorkerDied, WorkerProcess
from app.runs.commits import RunTarget, is_own, require_own
from app.runs.handler import RunControl, RunResult
from app.runs.model import Run, RunInput
from app.sql.client import SqlGuardClient
from app.sql.model import GuardedQuery, TableName
from app.sql.quoting import quoted
from app.telemetry.calls import SILENT, Telemetry
from app.warehouse.dependents import (
    DependentViews,
    after_run,
    rebuild_views_after,
    rebuild_views_of_reconciled,
)
from app.warehouse.described import Described
from app.warehouse.engine import IncrementalStrategy, ModelSpec, Preview
from app.warehouse.other_kind import require_replace, settle, without_table, without_view
from app.warehouse.views import expand_views, find_relations
from app.warehouse.worker_calls import Artifacts, call_worker, names_of, unreadable
from app.warehouse.workers import WorkerKind, Workers

VALIDATE_SECONDS = 10.0
PREVIEW_SECONDS = 30.0
BUILDER, PLANNER = "app.warehouse.duckdb.builder", "app.warehouse.duckdb.planner"


class DuckDbEngine:
    """`builder_lake` is the lake with the identity of the processes that run SQL, which may read.
    `publisher_lake` is the lake with the identity of the process that writes tables."""

    def __init__(
        self,
        *,
        lake: Lake,
        builder_lake: Lake,
        publisher_lake: Lake,
        catalog: Catalog,
        store: ObjectStore,
        sql_guard: SqlGuardClient,
        home: Path,
        workers: int = 2,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._lake = lake
        self._catalog = catalog
        self._target = RunTarget(catalog, hides_history=lake.catalog.hides_history)
        self._store = store
        self._sql_guard = sql_guard
        self._views = DependentViews(catalog, sql_guard, self._describe_view)
        readable = {"lake": builder_lake.to_json()}
        self._workers = Workers(
            home,
            builder=WorkerKind(BUILDER, "dbt-worker", readable, builder_lake.hosts),
            builders=workers,
            planner=WorkerKind(PLANNER, "duckdb-worker", readable, builder_lake.hosts),
            telemetry=telemetry,
        )
        self._leftovers = Leftovers(store, catalog)
        self._publishers = Publishers(
            publisher_lake,
            self._leftovers,
            home=home,
            handed_over=self._workers.folder,
            size=workers,
            telemetry=telemetry,
        )

    async def warm(self) -> None:
        """Start a worker of each kind. Otherwise, the first call waits for its start (4 s)."""
        await asyncio.gather(self._workers.warm(), self._publishers.warm())

    async def close(self) -> None:
        await asyncio.gather(self._workers.close(), self._publishers.close())

    async def validate(self, sql: GuardedQuery, target: str | None = None) -> list[Column]:
        """`target` is the view to be built from the query, which must not read it."""
        relations = await find_relations(self._catalog, names_of(sql))
        text = await self._to_duckdb(sql, relations, target)
        try:
            answer = await self._plan({"op": "validate", "sql": text}, VALIDATE_SECONDS)
        except SqlRefused as error:
            raise await self._sql_guard.with_caller_position(error, sql, text, "duckdb") from error
        return _columns(answer)

    async def columns(self, sql: GuardedQuery, target: str | None = None) -> list[Column]:
        return await self.validate(sql, target)

    async def _plan(
        self,
        message: dict[str, Any],
        timeout: float,  # noqa: ASYNC109 — it kills the worker, too
    ) -> dict[str, Any]:
        """Call a planner. Try again if it was killed, since planning writes nothing."""
        try:
            async with self._workers.planner() as worker:
                return await call_worker(worker, message, timeout)
        except EngineFailed as error:
            if not isinstance(error.__cause__, WorkerDied):
                raise
        async with self._workers.planner() as worker:
            return await call_worker(worker, message, timeout)

    async def compiled_sql(self, spec: ModelSpec) -> str:
        guarded = await self._sql_guard.check_query(spec.sql)
        relations = await find_relations(self._catalog, names_of(guarded))
        return await self._to_duckdb(guarded, relations, None)

    async def preview(self, table: str, limit: int) -> Preview:
        name = TableName.parse(table)
        text = f"SELECT * FROM {quoted(name.schema)}.{quoted(name.name)}"  # noqa: S608
        query = GuardedQuery(text, (name,))
        try:
            relations = await find_relations(self._catalog, names_of(query))
        except TableNotFound as error:
            raise NotFound(error.detail) from error
        text = await self._to_duckdb(query, relations, None)
        message = {"op": "preview", "sql": text, "limit": limit}
        try:
            answer = await self._plan(message, PREVIEW_SECONDS)
        except SqlInvalid as error:
            raise unreadable(table, error) from error
        return Preview(_columns(answer), answer["rows"])

    async def build(self, spec: ModelSpec, control: RunControl) -> RunResult:
        await self._target.note(spec.table, control)
        guarded = await self._sql_guard.check_query(spec.sql)
        relations = await find_relations(self._catalog, names_of(guarded))
        inputs = tuple(RunInput.of(info, self._lake.catalog.ref) for info in relations.values())
        target = spec.table if spec.materialization.is_view else None
        text = await self._to_duckdb(guarded, relations, target)
        async with self._workers.builder() as worker:
            with contextlib.closing(Artifacts(self._store, control)) as artifacts:
                message = {"op": "build", "spec": spec.model_dump(mode="json"), "sql": text}
                try:
                    built = await call_worker(worker, message, None, artifacts)
                except AsgardError:
                    await artifacts.uploaded()
                    raise
                before = await self._target.before(spec.table)
                await control.progress(inputs=inputs, engine={"name": "dbt-duckdb", **before})
                existing = await self._existing(spec)
                columns = after_run(_columns(built), self._retained(spec, existing))
                await self._views.prepare(spec.table, existing, columns, control)
                output = await self._publish(spec, control, worker, built, existing)
                await artifacts.uploaded()
            with contextlib.suppress(AsgardError):
                # The published table stays, whether or not the builder frees its memory.
                await call_worker(worker, {"op": "discard"}, None)
        await rebuild_views_after(self._views.rebuild, spec.table, existing, control)
        return RunResult(output=output, inputs=inputs)

    async def _existing(self, spec: ModelSpec) -> TableInfo | ViewInfo | None:
        return await self._catalog.table(spec.table) or await self._catalog.view(spec.table)

    def _retained(self, spec: ModelSpec, existing: TableInfo | ViewInfo | None) -> Sequence[Column]:
        adds = spec.strategy is not None and not spec.full_refresh
        return existing.columns if adds and isinstance(existing, TableInfo) else ()

    async def reconcile(self, spec: ModelSpec, run: Run) -> RunResult | None:
        await settle(self._catalog, run)
        if spec.materialization.is_view:
            view = await self._catalog.view(spec.table)
            if view is None or not is_own(view, run.run_id):
                return None
            warnings = await rebuild_views_of_reconciled(self._views.rebuild, run)
            return RunResult(output=RunOutput.of(view, self._lake.catalog.ref), warnings=warnings)
        output = await self._target.published(spec.table, run.run_id)
        if output is None:
            if run.started_at is not None:
                await self._leftovers.note(spec.table, run.run_id)
            await self._target.require_unchanged(run)
            return None
        warnings = await rebuild_views_of_reconciled(self._views.rebuild, run)
        return RunResult(output=output, warnings=warnings)

    async def rebuild_views(self, table: str, before: Sequence[Column]) -> list[str]:
        return await self._views.rebuild(table, before)

    async def _describe_view(self, sql: str, stand_ins: Mapping[str, str]) -> Described:
        text = await self._sql_guard.to_duckdb(sql, views=stand_ins)
        answer = await self._plan({"op": "validate", "sql": text}, VALIDATE_SECONDS)
        return Described(tuple(_columns(answer)), sql)

    async def _publish(
        self,
        spec: ModelSpec,
        control: RunControl,
        worker: WorkerProcess,
        built: dict[str, Any],
        existing: TableInfo | ViewInfo | None,
    ) -> RunOutput:
        catalog = self._catalog
        if spec.materialization.is_view:
            await control.fence()
            return await self._publish_view(spec, control, _columns(built))
        if (view := await catalog.view(spec.table)) is None:
            table = existing if isinstance(existing, TableInfo) else None
            return await self._publish_table(spec, control, worker, table)
        require_replace(spec.replace, spec.table, "view")
        await control.fence()
        async with without_view(catalog, view, control):
            return await self._publish_table(spec, control, worker, None)

    async def _publish_view(
        self, spec: ModelSpec, control: RunControl, columns: list[Column]
    ) -> RunOutput:
        run_id, catalog = control.run.run_id, self._catalog
        async with AsyncExitStack() as stack:
            if (table := await catalog.table(spec.table)) is not None:
                require_replace(spec.replace, spec.table, "table")
                await stack.enter_async_context(
                    without_table(catalog, table, spec.sql, columns, control)
                )
            view = await catalog.replace_view(
                spec.table, spec.sql, columns, {RUN_ID_PROPERTY: run_id}
            )
        require_own(view, run_id)
        return RunOutput.of(view, self._lake.catalog.ref)

    async def _publish_table(
        self,
        spec: ModelSpec,
        control: RunControl,
        worker: WorkerProcess,
        existing: TableInfo | None,
    ) -> RunOutput:
        """Publish the rows. If another writer committed first, compute them again from the table as
        it is now."""
        attempts = count()

        async def send_and_publish() -> RunOutput:
            is_first = next(attempts) == 0
            table = existing if is_first else await self._catalog.table(spec.table)
            base = ExpectedSnapshot.of(table)
            adds = table is not None and spec.strategy is not None and not spec.full_refresh
            message = {"op": "send", "base": asdict(base) if adds else None}
            await call_worker(worker, message, None)
            # Sending takes long for many rows, and another gateway may have taken the run over.
            await control.fence()
            return await self._publishers.publish(
                self._workers.folder_of(worker),
                spec.table,
                control.run.run_id,
                base=None if adds and spec.strategy is IncrementalStrategy.APPEND else base,
                add_columns=True,
            )

        return await self._publishers.repeat_if_stale(send_and_publish)

    async def _to_duckdb(
        self, query: GuardedQuery, relations: dict[str, TableInfo | ViewInfo], target: str | None
    ) -> str:
        views = await expand_views(self._catalog, relations, self._sql_guard.check_query, target)
        return await self._sql_guard.to_duckdb(query.sql, views=views)


def _columns(answer: dict[str, Any]) -> list[Column]:
    return [Column(column["name"], column["type"]) for column in answer["columns"]]
