"""What Trino itself reports of the queries of a run."""

import asyncio

from app.runs.model import Run
from tests.integration.servers.trino import Trino


async def states(trino: Trino, run: Run, verb: str = "") -> list[str]:
    """Return the states of the run's queries, as Trino reports them."""
    rows = await asyncio.to_thread(
        trino.execute,
        "SELECT state FROM system.runtime.queries "
        f"WHERE query LIKE '/* asgard run {run.run_id} */%{verb}%'",
    )
    return sorted(str(row[0]) for row in rows)
