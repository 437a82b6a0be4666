"""Handles tables and views that Trino writes: names, commits of runs, and leftovers of runs."""

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

import anyio.to_thread

from app.errors import EngineFailed, EngineUnreachable, NotFound
from app.failure import FailureCause
from app.lakehouse.catalog import Catalog
from app.lakehouse.outputs import RunOutput
from app.runs.commits import RunTarget, is_own
from app.runs.handler import ReconciledAsFailed, RunResult
from app.runs.model import Run
from app.warehouse.dependents import COLUMNS, RebuildViews, rebuild_views_of_reconciled
from app.warehouse.engine import ModelSpec
from app.warehouse.other_kind import settle
from app.warehouse.trino import snapshots
from app.warehouse.trino.client import QueryResult, TrinoClient
from app.warehouse.trino.columns import table_name
from app.warehouse.trino.snapshots import Written

T = TypeVar("T")
THREADS = 16
ABANDONED_AFTER = 330.0
"""Seconds after which a Trino that cannot be reached has ended a query that is not polled:
`query.client.timeout` is 5 minutes unless it is set to less."""


class TrinoTables:
    def __init__(self, client: TrinoClient, catalog: Catalog) -> None:
        self.client = client
        self.catalog = catalog
        self.lake = catalog.lake
        self.target = RunTarget(catalog, hides_history=self.lake.catalog.hides_history)
        self._limiter = anyio.CapacityLimiter(THREADS)
        self._away_since: dict[str, float] = {}

    async def reconcile(self, spec: ModelSpec, run: Run, rebuild: RebuildViews) -> RunResult | None:
        """End what the run left running on Trino, then look for what its queries committed."""
        query_ids = set(run.engine.get("query_ids", ()))
        try:
            query_ids.update(await self.thread(partial(self.client.kill_queries_of, run.run_id)))
        except EngineUnreachable as error:
            self._wait_for_abandonment(run.run_id, error)
        self._away_since.pop(run.run_id, None)
        await self.catalog.drop_table(f"{self.lake.staging_schema}.{staging_table(run.run_id)}")
        await settle(self.catalog, run)
        if spec.materialization.is_view:
            view = await self.catalog.view(spec.table)
            if view is None or not is_own(view, run.run_id):
                return None
            warnings = await rebuild_views_of_reconciled(rebuild, run)
            return RunResult(output=RunOutput.of(view, self.lake.catalog.ref), warnings=warnings)
        published = await self.published(spec.table, query_ids)
        if published is None:
            await self.target.require_unchanged(run)
            await self._require_same_columns(run)
            return None
        warnings = await rebuild_views_of_reconciled(rebuild, run)
        return RunResult(output=published, warnings=warnings)

    async def _require_same_columns(self, run: Run) -> None:
        """Raise `ReconciledAsFailed` if the run was cut off after it had added columns: adding them
        is a statement of its own, and writes no snapshot."""
        before = {name for name, _ in run.engine.get(COLUMNS, ())}
        current = await self.catalog.table(run.target) if before else None
        if current is None:
            return
        if added := [column.name for column in current.columns if column.name not in before]:
            raise ReconciledAsFailed(
                EngineFailed(
                    f"The run was cut off after it had added columns to {run.target}: "
                    f"{', '.join(added)}. It wrote no rows.",
                    cause=FailureCause.LOST,
                    hint="Start the run again.",
                    retryable=True,
                )
            )

    async def published(self, table: str, query_ids: Collection[str]) -> RunOutput | None:
        """Return what these queries wrote into the table, if its catalog shows it."""
        try:
            written = await self.written(table, query_ids)
        except NotFound:
            return None
        return written.output if written.is_visible else None

    async def written(self, table: str, query_ids: Collection[str]) -> Written:
        """Return what these queries wrote. Raises `NotFound` if there is no table."""
        ids, ref = set(query_ids), self.lake.catalog.ref
        return await self.catalog.run(
            lambda rest: snapshots.written(rest, table, ids, ref),
        )

    async def ask(self, sql: str, seconds: float) -> QueryResult:
        """Ask Trino something that changes nothing."""
        return await self.thread(partial(self.client.ask, sql, seconds))

    async def thread(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread, which a cancellation abandons. `reconcile` ends its queries."""
        return await anyio.to_thread.run_sync(work, limiter=self._limiter, abandon_on_cancel=True)

    def name(self, schema: str, name: str) -> str:
        return table_name(self.lake.catalog_name, schema, name)

    def _wait_for_abandonment(self, run_id: str, error: EngineUnreachable) -> None:
        """Return if no query of the run can still be running, else raise the error."""
        if "refused" in error.detail:
            return  # the port is closed: the coordinator and its queries are gone
        since = self._away_since.setdefault(run_id, time.monotonic())
        if time.monotonic() - since < ABANDONED_AFTER:
            raise error


def staging_table(run_id: str) -> str:
    return f"run_{run_id}"
