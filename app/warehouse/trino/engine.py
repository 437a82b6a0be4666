# ruff: noqa: S608 — identifiers are quoted, and the SQL has passed the guard
"""The production SQL engine: dbt-trino in warm workers, and Trino itself."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from app.errors import NotFound, SqlInvalid, SqlRefused, TableNotFound
from app.lakehouse.catalog import Catalog
from app.lakehouse.storage import ObjectStore
from app.lakehouse.tables import Column, TableInfo, ViewInfo
from app.runs.handler import RunControl, RunResult
from app.runs.model import Run, RunInput
from app.sql.client import SqlGuardClient
from app.sql.line_columns import within
from app.sql.model import GuardedQuery, TableName
from app.telemetry.calls import SILENT, Telemetry
from app.warehouse.dependents import DependentViews
from app.warehouse.described import Described
from app.warehouse.engine import ModelSpec, Preview
from app.warehouse.trino.build import TrinoBuild
from app.warehouse.trino.client import QueryResult, TrinoClient
from app.warehouse.trino.columns import describe, first_rows
from app.warehouse.trino.connection import TrinoConnection
from app.warehouse.trino.tables import TrinoTables
from app.warehouse.values import plain
from app.warehouse.views import expand_views, find_relations
from app.warehouse.worker_calls import names_of, unreadable
from app.warehouse.workers import WorkerKind, Workers

T = TypeVar("T")
Relations = dict[str, TableInfo | ViewInfo]
CacheKey = tuple[str, tuple[tuple[str, tuple[Column, ...]], ...]]

VALIDATE_SECONDS = 10.0
PREVIEW_SECONDS = 30.0
BUILDER = "app.warehouse.trino.builder"
CACHED_QUERIES = 256
"""Number of queries whose columns are cached."""


class TrinoEngine:
    def __init__(
        self,
        *,
        connection: TrinoConnection,
        catalog: Catalog,
        store: ObjectStore,
        sql_guard: SqlGuardClient,
        home: Path,
        workers: int = 2,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._telemetry = telemetry
        self._catalog = catalog
        self._store = store
        self._lake = catalog.lake
        self._sql_guard = sql_guard
        self.tables = TrinoTables(TrinoClient(connection, telemetry), catalog)
        self._views = DependentViews(catalog, sql_guard, self._describe_view)
        self._described: dict[CacheKey, Described] = {}
        self.workers = Workers(
            home,
            builder=WorkerKind(
                BUILDER, "dbt-worker", {"catalog": self._lake.catalog_name}, hosts=()
            ),
            builders=workers,
            telemetry=telemetry,
        )

    async def warm(self) -> None:
        """Start a worker. Otherwise, the first build waits for its start (6 s)."""
        await self.workers.warm()

    async def close(self) -> None:
        await self.workers.close()

    async def reach(self) -> None:
        """Raises `EngineUnreachable` while Trino does not answer."""
        await self.tables.thread(self.tables.client.reach)

    async def validate(self, sql: GuardedQuery, target: str | None = None) -> list[Column]:
        relations = await self._readable(sql, target)
        explain = f"EXPLAIN (TYPE VALIDATE)\n{sql.sql}"
        _, described = await asyncio.gather(
            self._ask(explain, sql), self._ask_columns(sql, relations)
        )
        return list(described.columns)

    async def columns(self, sql: GuardedQuery, target: str | None = None) -> list[Column]:
        relations = await self._readable(sql, target)
        return list((await self._ask_columns(sql, relations)).columns)

    async def _readable(self, sql: GuardedQuery, target: str | None) -> Relations:
        """Return what the query reads. Trino would not name near matches of missing tables."""
        relations = await find_relations(self._catalog, names_of(sql))
        await self._refuse_cycles(relations, target)
        return relations

    async def compiled_sql(self, spec: ModelSpec) -> str:
        guarded = await self._sql_guard.check_query(spec.sql)
        kind = "VIEW" if spec.materialization.is_view else "TABLE"
        name = self.tables.name(spec.schema_name, spec.name)
        return f"CREATE OR REPLACE {kind} {name} AS\n{guarded.sql}"

    async def preview(self, table: str, limit: int) -> Preview:
        name = TableName.parse(table)
        try:
            await find_relations(self._catalog, [table])
        except TableNotFound as error:
            raise NotFound(error.detail) from error
        sql = f"SELECT * FROM {self.tables.name(name.schema, name.name)} LIMIT {int(limit)}"
        try:
            answer = await self.tables.ask(sql, PREVIEW_SECONDS)
        except SqlInvalid as error:
            raise unreadable(table, error) from error
        columns = describe(sql, answer.names, answer.types).columns
        return Preview(list(columns), [[plain(value) for value in row] for row in answer.rows])

    async def build(self, spec: ModelSpec, control: RunControl) -> RunResult:
        await self.tables.target.note(spec.table, control)
        guarded = await self._sql_guard.check_query(spec.sql)
        relations = await find_relations(self._catalog, names_of(guarded))
        target = spec.table if spec.materialization.is_view else None
        await self._refuse_cycles(relations, target)
        inputs = tuple(RunInput.of(info, self._lake.catalog.ref) for info in relations.values())
        described, _ = await asyncio.gather(
            self._cached_columns(guarded, relations),
            control.progress(inputs=inputs, engine={"name": "dbt-trino"}),
        )
        build = TrinoBuild(
            self.tables, self._views, self.workers, self._store, spec, control, self._telemetry
        )
        output = await build.run(described)
        return RunResult(output=output, inputs=inputs)

    async def reconcile(self, spec: ModelSpec, run: Run) -> RunResult | None:
        return await self.tables.reconcile(spec, run, self._views.rebuild)

    async def rebuild_views(self, table: str, before: Sequence[Column]) -> list[str]:
        return await self._views.rebuild(table, before)

    async def _describe_view(self, sql: str, stand_ins: Mapping[str, str]) -> Described:
        text = await self._sql_guard.with_stand_ins(sql, stand_ins)
        answer = await self.tables.ask(first_rows(text, 0), VALIDATE_SECONDS)
        return describe(sql, answer.names, answer.types)

    async def _ask(self, statement: str, query: GuardedQuery) -> QueryResult:
        """Ask Trino about the query, which is part of the statement."""
        try:
            return await self.tables.ask(statement, VALIDATE_SECONDS)
        except SqlRefused as error:
            if at := error.members.pop("position", None):
                error.members["position"] = within(statement, query.sql, at)
            raise await self._sql_guard.with_caller_position(error, query, query.sql) from error

    async def _ask_columns(self, query: GuardedQuery, relations: Relations) -> Described:
        sql = query.sql
        answer = await self._ask(first_rows(sql, 0), query)
        described = describe(sql, answer.names, answer.types)
        while len(self._described) >= CACHED_QUERIES:
            del self._described[next(iter(self._described))]
        self._described[_cache_key(sql, relations)] = described
        return described

    async def _cached_columns(self, query: GuardedQuery, relations: Relations) -> Described:
        """Return the columns from before the run was created, if what the query reads still has the
        same columns. Each query for them takes Trino 70 ms."""
        cached = self._described.get(_cache_key(query.sql, relations))
        return cached or await self._ask_columns(query, relations)

    async def _refuse_cycles(self, relations: Relations, target: str | None) -> None:
        """Refuse a view that reads itself. The catalog, where it is created, would accept it."""
        if target:
            await expand_views(
                self._catalog, relations, self._sql_guard.check_query, target, foreign=True
            )


def _cache_key(sql: str, relations: Relations) -> CacheKey:
    return sql, tuple((name, info.columns) for name, info in sorted(relations.items()))
