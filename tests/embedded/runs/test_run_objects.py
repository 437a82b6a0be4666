"""Objects among the open runs that are not runs: other programs can write into the bucket."""

from datetime import UTC, datetime
from uuid import uuid4

import structlog

from app.runs.model import Run, RunKind
from app.runs.store import OPEN_PREFIX, RunStore, open_key
from tests.conftest import Lakehouse


def queued() -> Run:
    return Run(
        run_id=uuid4().hex,
        kind=RunKind.DBT,
        target="gold.t",
        created_at=datetime(2024, 1, 1, tzinfo=UTC),
        created_by="tester",
    )


async def test_an_object_that_is_not_a_run_does_not_hide_the_runs(own_lakehouse: Lakehouse) -> None:
    run, copied = queued(), queued()
    strangers = {
        f"{OPEN_PREFIX}r.json": b"kept",
        f"{OPEN_PREFIX}{uuid4().hex}.json": b"{}",
        f"{OPEN_PREFIX}notes": b"\xff",
        open_key(uuid4().hex): copied.model_dump_json().encode(),
    }
    runs = RunStore(own_lakehouse.store)
    await runs.create(run)
    for key, body in strangers.items():
        await own_lakehouse.store.put(key, body)
    with structlog.testing.capture_logs() as logged:
        first, second = await runs.list({}), await runs.list({})
    assert first[run.run_id].run == run
    assert copied.run_id not in first
    assert second == first
    # Each object is logged once, not at every poll.
    named = [line["key"] for line in logged if line["event"] == "not_a_run"]
    assert sorted(named) == sorted(strangers)
    # An object that becomes a run is read again.
    await own_lakehouse.store.put(open_key(copied.run_id), copied.model_dump_json().encode())
    assert (await runs.list({}))[copied.run_id].run == copied


async def test_runs_start_and_are_listed_despite_such_an_object(
    lakehouse: Lakehouse, client
) -> None:
    key = f"{OPEN_PREFIX}r.json"
    await lakehouse.store.put(key, b"kept")
    try:
        name = f"beside_{uuid4().hex[:8]}"
        body = {"name": name, "sql_query": "SELECT 1 AS id", "materialization": "table"}
        answer = await client.post("/dbt/transform", json=body)
        assert answer.status_code == 200, answer.text
        listed = await client.get("/runs")
        assert answer.json()["run_id"] in {run["run_id"] for run in listed.json()["runs"]}
    finally:
        await lakehouse.store.delete(key)
