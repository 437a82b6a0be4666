"""WARM_WORKERS decides whether workers start with the gateway or with the first request."""

from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from tests.live_gateway import live_gateway
from tests.patience import until

SQL, PLANNER = "app.sql.worker", "app.warehouse.duckdb.planner"
ALL = {
    SQL,
    PLANNER,
    "app.warehouse.duckdb.builder",
    "app.lakehouse.publish.worker",
    "app.data_transformation.sail.worker",
}


def workers(gateway: int) -> set[str]:
    """Return the modules that its children run, but for the look at the sandbox."""
    found = set()
    for child in psutil.Process(gateway).children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            command = child.cmdline()
            if "-m" in command:
                found.add(command[command.index("-m") + 1])
    return found - {"app.sandbox.probe"}


async def test_a_worker_of_each_kind_starts_with_the_gateway(tmp_path: Path) -> None:
    with live_gateway(tmp_path, WARM_WORKERS="true") as gateway:
        await until(lambda: workers(gateway.process.pid) == ALL, seconds=120)


def test_without_warm_workers_each_kind_waits_for_its_first_request(tmp_path: Path) -> None:
    with live_gateway(tmp_path, WARM_WORKERS="false") as gateway:
        assert workers(gateway.process.pid) == set()
        body = {"sql_query": "SELECT 1 AS n"}
        checked = httpx.post(f"{gateway.url}/api/v1/dbt/validate-sql", json=body, timeout=60)
        assert checked.json()["is_valid"] is True
        assert workers(gateway.process.pid) == {SQL, PLANNER}
