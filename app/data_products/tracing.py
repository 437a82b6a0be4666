"""Gathers the few runs that a lineage needs."""

import asyncio
from collections.abc import Iterable, Mapping

from app.data_products.lineage import Lineage, ProductTable, Tracer
from app.runs.model import Run, RunState
from app.runs.service import RunService

RUNS_OF_A_TABLE = 200
"""Number of runs of a table that are searched for the one that wrote the snapshot that was read."""


async def trace(
    runs: RunService, table: str, products: Mapping[str, ProductTable], silver_schema: str
) -> Lineage:
    """Trace from the newest run of each table. Fetch older runs only where a table was read at an
    older snapshot."""
    by_id = {run.run_id: run for run in (await runs.latest_success()).values()}
    requested: set[str] = set()
    while True:
        # In a thread: callers decide how many tables are built from one another.
        lineage = await asyncio.to_thread(_lineage, by_id.values(), table, products, silver_schema)
        tables, syncs = lineage.unseen_tables - requested, lineage.unseen_runs - requested
        if not tables and not syncs:
            return lineage
        requested |= tables | syncs
        for name in tables:
            page = await runs.list(target=name, state=RunState.SUCCEEDED, limit=RUNS_OF_A_TABLE)
            by_id |= {run.run_id: run for run in page.runs}
        for run_id in syncs:
            run = await runs.find(run_id)
            by_id |= {run_id: run} if run else {}


def _lineage(
    runs: Iterable[Run], table: str, products: Mapping[str, ProductTable], silver_schema: str
) -> Lineage:
    newest_first = sorted(runs, key=lambda run: run.created_at, reverse=True)
    return Tracer(newest_first, products, silver_schema).trace(table)
