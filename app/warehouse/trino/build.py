# ruff: noqa: S608 — identifiers are quoted, and the SQL has passed the guard
"""Builds a model on Trino in one run: by one statement, or by a staging table and one more."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.from_thread
import stamina

from app.errors import AsgardError, NotFound
from app.lakehouse.catalog import RUN_ID_PROPERTY
from app.lakehouse.outputs import RunOutput
from app.runs.commits import require_own, wrote_nothing
from app.runs.handler import ReconciledAsFailed
from app.warehouse.checks import check_key
from app.warehouse.dependents import after_run, rebuild_views_after
from app.warehouse.described import Described
from app.warehouse.engine import IncrementalStrategy, ModelSpec
from app.warehouse.other_kind import require_replace, without_table, without_view
from app.warehouse.trino.columns import with_extra_columns
from app.warehouse.trino.errors import is_conflict
from app.warehouse.trino.incremental import TrinoIncrement, refused_key, unusable_keys
from app.warehouse.trino.publisher import (
    Publisher,
    StatementRefused,
    table_statement,
    validation,
)
from app.warehouse.trino.tables import TrinoTables, staging_table
from app.warehouse.worker_calls import Artifacts, call_worker

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectStore
    from app.lakehouse.tables import TableInfo, ViewInfo
    from app.runs.handler import RunControl
    from app.telemetry.calls import Telemetry
    from app.warehouse.dependents import DependentViews
    from app.warehouse.trino.client import QueryResult
    from app.warehouse.trino.snapshots import Written
    from app.warehouse.workers import Workers

CONFLICT_ATTEMPTS = 6
TRINO = "The statement on Trino"
MANY_DELETE_FILES = 8
"""A merge leaves delete files, which slow every reader. From this number on, they are compacted."""


class TrinoBuild:
    def __init__(
        self,
        tables: TrinoTables,
        views: DependentViews,
        workers: Workers,
        store: ObjectStore,
        spec: ModelSpec,
        control: RunControl,
        telemetry: Telemetry,
    ) -> None:
        self._tables = tables
        self._views = views
        self._workers = workers
        self._store = store
        self._telemetry = telemetry
        self._spec = spec
        self._control = control
        self._run_id = control.run.run_id
        self._target = tables.name(spec.schema_name, spec.name)
        self._staging = staging_table(self._run_id)
        self._delta = tables.name(tables.lake.staging_schema, self._staging)
        self._query_ids: list[str] = []

    async def run(self, described: Described) -> RunOutput:
        spec = self._spec
        catalog = self._tables.catalog
        described = with_extra_columns(spec, described)
        check_key((column.name for column in described.columns), spec.unique_key)
        view, table = await asyncio.gather(catalog.view(spec.table), catalog.table(spec.table))
        before, views = view or table, self._views
        adds = spec.strategy and not spec.full_refresh and not view
        columns = after_run(described.columns, table.columns if adds and table else ())
        await views.prepare(spec.table, before, columns, self._control)
        output = await self._build(described, view, table)
        await rebuild_views_after(views.rebuild, spec.table, before, self._control)
        return output

    async def _build(
        self, described: Described, view: ViewInfo | None, table: TableInfo | None
    ) -> RunOutput:
        spec = self._spec
        if spec.materialization.is_view:
            return await self._view(described, table)
        if view:
            return await self._replace_view_by_table(described, view)
        if spec.strategy and not spec.full_refresh and table:
            return await self._incremental(described, spec.strategy, table)
        if spec.strategy and spec.strategy.needs_key:
            return await self._first_with_key(described)
        await self._dbt(described, spec.schema_name, spec.name)
        return await self._output()

    async def _view(self, described: Described, replaced: TableInfo | None) -> RunOutput:
        catalog = self._tables.catalog
        if replaced is not None:
            require_replace(self._spec.replace, self._spec.table, "table")
        await self._dbt(described, self._spec.schema_name, self._spec.name)
        await self._control.fence()
        async with contextlib.AsyncExitStack() as stack:
            if replaced is not None:
                await stack.enter_async_context(
                    without_table(
                        catalog, replaced, described.sql, described.columns, self._control
                    )
                )
            view = await catalog.replace_view(
                self._spec.table, described.sql, described.columns, {RUN_ID_PROPERTY: self._run_id}
            )
        require_own(view, self._run_id)
        return RunOutput.of(view, self._tables.lake.catalog.ref)

    async def _replace_view_by_table(self, described: Described, view: ViewInfo) -> RunOutput:
        """Build into staging first, so that a query that fails leaves the view unchanged."""
        require_replace(self._spec.replace, self._spec.table, "view")
        async with self._staged(described):
            await self._check_rows()
            await self._control.fence()
            async with without_view(self._tables.catalog, view, self._control):
                await self._execute(f"CREATE TABLE {self._target} AS SELECT * FROM {self._delta}")
        return await self._output()

    async def _first_with_key(self, described: Described) -> RunOutput:
        """Stage the rows and check their keys, as later runs do."""
        async with self._staged(described):
            await self._check_rows()
            rows = f"SELECT * FROM {self._delta}"
            await self._publish(table_statement(self._target, rows))
        return await self._output()

    async def _check_rows(self) -> None:
        strategy, key = self._spec.strategy, self._spec.unique_key
        if strategy is None or not strategy.needs_key:
            return
        unique = strategy is IncrementalStrategy.MERGE
        unusable = await self._execute(unusable_keys(self._delta, key, unique=unique))
        if unusable.rows:
            raise refused_key(key, unusable.rows[0])

    async def _check_values(self, increment: TrinoIncrement) -> None:
        if query := increment.changed_values():
            found = await self._execute(query)
            if found.rows:
                raise increment.refused_value(found.rows[0][0])

    async def _incremental(
        self, described: Described, strategy: IncrementalStrategy, table: TableInfo
    ) -> RunOutput:
        increment = TrinoIncrement(
            target=self._target,
            delta=self._delta,
            old=table.columns,
            new=described.columns,
            key=self._spec.unique_key,
            strategy=strategy,
        )
        async with self._staged(described):
            await self._check_rows()
            await self._check_values(increment)
            await self._control.fence()
            for statement in increment.added_columns():
                await self._execute(statement)
            append = strategy is IncrementalStrategy.APPEND
            # A later commit may hide what an append did, so an append is never repeated.
            execute = self._execute if append else self._execute_with_retries
            result = await execute(increment.statement())
        return await self._output(result.changed if result else None)

    @contextlib.asynccontextmanager
    async def _staged(self, described: Described) -> Any:
        schema = self._tables.lake.staging_schema
        staging = f"{schema}.{self._staging}"
        await self._dbt(described, schema, self._staging)
        try:
            yield
        except BaseException:
            await self._tables.catalog.drop_table(staging)
            raise
        try:
            await self._tables.catalog.drop_table(staging)
        except AsgardError as error:
            # The rows are committed. A failed run would be repeated, and an append doubled.
            self._control.log(f"The table {staging} could not be dropped: {error.detail}")

    async def _dbt(self, described: Described, schema: str, name: str) -> None:
        message = {
            "op": "build",
            "spec": self._spec.model_dump(mode="json"),
            "sql": described.sql,
            "schema": schema,
            "name": name,
        }
        is_view = self._spec.materialization.is_view
        target = self._tables.name(schema, name)
        publisher = Publisher(
            validation(described.sql) if is_view else table_statement(target, described.sql),
            self._publish,
            self._control.log,
        )
        failure = None
        async with self._workers.builder() as worker:
            with contextlib.closing(Artifacts(self._store, self._control)) as artifacts:
                try:
                    await call_worker(worker, message, None, artifacts, publisher.on_ask)
                except StatementRefused as refused:
                    raise refused.error from refused
                except AsgardError as error:
                    failure = error
                await artifacts.uploaded()
        if failure and publisher.left_open:
            await self._after_worker(failure)
        else:
            publisher.conclude(failure)

    async def _publish(self, statement: str) -> QueryResult:
        await self._control.fence()
        return await self._execute(statement)

    async def _after_worker(self, error: AsgardError) -> None:
        """Find out the outcome of the statement that a dead worker left behind."""
        try:
            outcome = await self._tables.reconcile(
                self._spec, self._control.run, self._views.rebuild
            )
        except ReconciledAsFailed as failed:
            raise failed.error from error
        if outcome is None or outcome.output is None:
            raise error

    async def _execute(self, sql: str) -> QueryResult:
        abandoned = threading.Event()
        try:
            return await self._tables.thread(
                partial(
                    self._tables.client.query,
                    sql,
                    run_id=self._run_id,
                    on_query=lambda query_id: anyio.from_thread.run(self._record, query_id),
                    abandoned=abandoned,
                )
            )
        finally:
            abandoned.set()

    async def _execute_with_retries(self, sql: str) -> QueryResult | None:
        """Retry if another writer commits first. Return None if an attempt that reported a conflict
        did commit, as the table's snapshots show."""
        attempts = stamina.retry_context(
            on=is_conflict, attempts=CONFLICT_ATTEMPTS, wait_initial=0.1, wait_max=2.0, timeout=None
        )
        async for attempt in attempts:
            with attempt:
                written = set(self._query_ids)
                if attempt.num > 1:
                    if await self._tables.published(self._spec.table, written):
                        return None
                    self._telemetry.commit_again("published", "stale")
                return await self._execute(sql)
        raise AssertionError("unreachable")

    async def _record(self, query_id: str) -> None:
        """Record the query before Trino runs it, or nearly so, to clean up after a crash."""
        self._query_ids.append(query_id)
        await self._control.progress(engine={"query_ids": list(self._query_ids)})

    async def _output(self, changed: int | None = None) -> RunOutput:
        """Return the output. `changed` is the number of rows of a statement that may write none."""
        output = await self._written(changed)
        if output.rows is None:
            output = output.model_copy(update={"rows": await self._count()})
        if changed is not None:
            output = output.model_copy(update={"rows_written": changed})
        return output

    async def _count(self) -> int | None:
        """Return the number of rows, or None if Trino does not count them. The rows are committed,
        so the run has succeeded."""
        try:
            counted = await self._execute(f"SELECT count(*) FROM {self._target}")
        except AsgardError as error:
            self._control.log(f"The rows could not be counted: {error.detail}")
            return None
        return int(counted.rows[0][0])

    async def _written(self, changed: int | None) -> RunOutput:
        """Return what the catalog shows of the run. Raises `EngineFailed` if its snapshot is
        missing: Trino's report is not evidence, and the newest snapshot may be another writer's."""
        table, tables = self._spec.table, self._tables
        try:
            written = await tables.written(table, self._query_ids)
        except NotFound as error:
            raise wrote_nothing(table, TRINO) from error
        if written.is_visible or changed == 0:
            return await self._compacted(written)
        raise await tables.target.nothing_shown(self._control.run, TRINO)

    async def _compacted(self, written: Written) -> RunOutput:
        if written.delete_files >= MANY_DELETE_FILES:
            try:
                await self._execute(f"ALTER TABLE {self._target} EXECUTE optimize")
                written = await self._tables.written(self._spec.table, self._query_ids)
            except AsgardError as error:
                # The rows are committed. A failed run would be repeated, and an append doubled.
                self._control.log(f"The table could not be optimized: {error.detail}")
        if written.is_visible:
            return written.output
        unwritten = {"snapshot_id": None, "metadata_location": None}
        return written.output.model_copy(update=unwritten)
