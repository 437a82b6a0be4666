"""Tests that need Trino: marks on queries, cancels and kills as Trino sees them, merges."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from trino.exceptions import TrinoQueryError

from app.caller import ANONYMOUS
from app.errors import SqlInvalid
from app.runs.handler import ReconciledAsFailed
from app.runs.model import Run, RunState
from app.warehouse.engine import IncrementalStrategy, Materialization, ModelSpec
from app.warehouse.trino.adapter import trino_connection
from app.warehouse.trino.client import QueryResult, TrinoClient
from tests.harnesses.warehouse import (
    ENDLESS,
    NUMBERS,
    WarehouseHarness,
    builders,
    unique,
)
from tests.integration.servers.trino import Trino
from tests.integration.trino.queries import states
from tests.patience import until

MERGE: dict[str, Any] = {
    "materialization": Materialization.INCREMENTAL,
    "incremental_strategy": IncrementalStrategy.MERGE,
    "unique_key": ("k",),
}
APPEND = {**MERGE, "incremental_strategy": IncrementalStrategy.APPEND, "unique_key": ()}


async def computing(trino: Trino, run: Run) -> bool:
    return "RUNNING" in await states(trino, run)


async def test_every_query_of_a_run_carries_its_id_on_trino(
    harness: WarehouseHarness, trino: Trino
) -> None:
    run = await harness.built(unique("tagged"), "SELECT 1 AS a")
    (query_id,) = run.engine["query_ids"]
    url = f"http://127.0.0.1:{trino.port}/v1/query/{query_id}"
    async with httpx.AsyncClient(headers={"X-Trino-User": "test"}) as client:
        info = (await client.get(url)).raise_for_status().json()
    assert set(info["session"]["clientTags"]) == {"asgard", run.run_id}
    assert info["session"]["source"] == "asgard"
    assert await states(trino, run) == ["FINISHED"]


async def test_the_snapshot_names_the_query_that_the_run_recorded(
    harness: WarehouseHarness,
) -> None:
    name = unique("snap")
    run = await harness.built(name, "SELECT 1 AS a")

    def query_of(catalog: Any) -> str:
        snapshot = catalog.load_table(f"gold.{name}").current_snapshot()
        return str(snapshot.summary.additional_properties["trino_query_id"])

    assert [await harness.lakehouse.catalog.run(query_of)] == run.engine["query_ids"]


async def test_a_cancel_ends_the_query_on_trino(harness: WarehouseHarness, trino: Trino) -> None:
    name = unique("cancelled")
    await harness.built(name, "SELECT 1 AS n")
    run = await harness.start(name, ENDLESS)
    await until(lambda: computing(trino, run))
    await harness.runs.cancel(run.run_id, ANONYMOUS)
    ended = await harness.runs.wait(run.run_id, 30)
    assert ended.state is RunState.CANCELLED
    assert await states(trino, run) == ["FAILED"]
    assert await harness.rows(name) == [{"n": 1}]


async def test_a_killed_worker_leaves_no_query_on_trino(
    harness: WarehouseHarness, trino: Trino
) -> None:
    name = unique("orphan")
    await harness.built(name, "SELECT 1 AS n")
    run = await harness.start(name, ENDLESS)
    await until(lambda: computing(trino, run))
    for process in builders(harness):
        process.kill()
    ended = await harness.runs.wait(run.run_id, 30)
    assert ended.failure is not None
    assert (ended.failure.cause, ended.failure.retryable) == ("lost", True)
    assert await states(trino, run) == ["FAILED"]
    assert await harness.rows(name) == [{"n": 1}]


@pytest.mark.parametrize("delay", [0.2, 0.4, 0.8])
async def test_a_kill_at_any_point_of_a_ctas_ends_the_run_with_its_true_outcome(
    harness: WarehouseHarness, trino: Trino, delay: float
) -> None:
    name = unique("ctas")
    await harness.built(name, "SELECT 0 AS n")
    run = await harness.start(name, "SELECT n FROM silver.wh_numbers")

    async def posted() -> bool:
        return (
            bool(await states(trino, run)) or (await harness.runs.get(run.run_id)).state.is_terminal
        )

    await until(posted)
    await asyncio.sleep(delay)
    for process in builders(harness):
        process.kill()
    ended = await harness.runs.wait(run.run_id, 60)
    rows = await harness.rows(name)
    assert len(rows) in (1, NUMBERS)
    assert (ended.state is RunState.SUCCEEDED) == (len(rows) == NUMBERS), ended
    assert not set(await states(trino, run)) - {"FINISHED", "FAILED"}


@pytest.mark.parametrize("strategy", [MERGE, APPEND])
async def test_a_killed_worker_duplicates_and_loses_no_row_of_an_increment(
    harness: WarehouseHarness, strategy: dict[str, Any]
) -> None:
    name = unique("increment")
    await harness.built(name, "SELECT 1 AS k", **strategy)
    run = await harness.start(name, "SELECT n + 2 AS k FROM silver.wh_numbers", **strategy)
    await until(lambda: _begun(harness, run))
    for process in builders(harness):
        process.kill()
    ended = await harness.runs.wait(run.run_id, 60)
    rows = await harness.rows(name)
    assert len(rows) == (NUMBERS + 1 if ended.state is RunState.SUCCEEDED else 1)


async def _begun(harness: WarehouseHarness, run: Run) -> bool:
    run = await harness.runs.get(run.run_id)
    return "query_ids" in run.engine or run.state.is_terminal


async def test_delete_files_are_compacted_before_they_accumulate(harness: WarehouseHarness) -> None:
    name = unique("piled")
    await harness.built(name, "SELECT 0 AS k, 0 AS v", **MERGE)
    most = 0
    for number in range(10):
        run = await harness.built(name, f"SELECT 0 AS k, {number} AS v", **MERGE)
        assert run.output is not None
        assert (run.output.rows, run.output.rows_written) == (1, 1)
        most = max(most, await harness.lakehouse.catalog.run(lambda c: _delete_files(c, name)))
    assert most < 8
    assert await harness.rows(name) == [{"k": 0, "v": 9}]


def succeeded_or_hidden(harness: WarehouseHarness, run: Run) -> bool:
    """On Nessie, a rival may have committed before the run could see its own snapshot."""
    if run.failure is None:
        return True
    hidden = harness.lakehouse.lake.catalog.hides_history
    return hidden and (run.failure.cause, run.failure.retryable) == ("lost", False)


def _delete_files(catalog: Any, name: str) -> int:
    snapshot = catalog.load_table(f"gold.{name}").current_snapshot()
    return int(snapshot.summary.additional_properties["total-delete-files"])


async def test_merges_survive_other_writers(harness: WarehouseHarness, trino: Trino) -> None:
    name = unique("rivals")
    await harness.built(name, "SELECT 0 AS k, 0 AS v", **MERGE)
    table = f"iceberg.gold.{name}"

    def retries() -> float:
        labels = {"table": "published", "reason": "stale"}
        return harness.metrics.registry.get_sample_value("asgard_commit_retries_total", labels) or 0

    before, merges, keys, over = retries(), 0, [0], asyncio.Event()

    async def rival() -> int:
        """Commit continuously until a merge has lost once. After that, the merge must win."""
        done = 0
        while retries() == before and not over.is_set():
            try:
                await asyncio.to_thread(trino.execute, f"UPDATE {table} SET v = {done} WHERE k = 0")
                done += 1
            except TrinoQueryError:
                continue
        return done

    updates = asyncio.create_task(rival())
    try:
        while len(keys) < 5 or (retries() == before and len(keys) < 15):
            run = await harness.build(name, f"SELECT {len(keys)} AS k, 1 AS v", **MERGE)
            assert succeeded_or_hidden(harness, run)
            merges += len(await states(trino, run, "MERGE"))
            keys.append(len(keys))
    finally:
        over.set()
    rivals = await updates
    assert rivals > 0
    assert sorted(row["k"] for row in await harness.rows(name)) == keys
    assert retries() - before == merges - (len(keys) - 1) > 0


class Instead:
    """Sends Trino another statement in place of each one."""

    def __init__(self, client: TrinoClient, put: Callable[[str], str]) -> None:
        self._client = client
        self._put = put

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def query(self, sql: str, **more: Any) -> QueryResult:
        return self._client.query(self._put(sql), **more)


@pytest.mark.parametrize("how", [{}, MERGE, {**MERGE, "full_refresh": True}, APPEND])
async def test_a_statement_that_wrote_another_table_fails_the_run(
    harness: WarehouseHarness, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    name, other = unique("unwritten"), unique("instead")
    await harness.built(name, "SELECT 1 AS k")
    await harness.built(other, "SELECT 1 AS k")
    before = await harness.snapshot(name)

    def elsewhere(sql: str) -> str:
        return sql.replace(f'"{name}"', f'"{other}"')

    engine: Any = harness.engine
    monkeypatch.setattr(engine.tables, "client", Instead(engine.tables.client, elsewhere))
    run = await harness.build(name, "SELECT 2 AS k", **how)
    assert run.failure is not None
    assert (run.failure.cause, run.failure.retryable) == ("lost", True)
    assert "it wrote nothing" in run.failure.message
    assert run.output is None
    assert await harness.snapshot(name) == before


async def test_a_snapshot_of_another_writer_does_not_count_as_the_runs(
    harness: WarehouseHarness, trino: Trino, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique("covered")
    await harness.built(name, "SELECT 1 AS k")

    class Rival(TrinoClient):
        """Lets another writer commit right after each statement of the run."""

        def query(self, sql: str, **more: Any) -> QueryResult:
            answer = super().query(sql, **more)
            trino.execute(f"INSERT INTO iceberg.gold.{name} VALUES (7)")
            return answer

    engine: Any = harness.engine
    with monkeypatch.context() as patch:
        patch.setattr(engine.tables, "client", Rival(trino_connection(harness.lakehouse.settings)))
        run = await harness.build(name, "SELECT 2 AS k")
    assert await harness.rows(name) == [{"k": 2}, {"k": 7}]
    if harness.lakehouse.lake.catalog.hides_history:
        assert run.failure is not None
        assert (run.failure.cause, run.failure.retryable) == ("lost", False)
        assert run.output is None
        with pytest.raises(ReconciledAsFailed, match="It is not known"):
            await harness.engine.reconcile(ModelSpec.model_validate(run.spec), run)
    else:
        assert run.output is not None
        assert run.output.rows == 1
        assert run.output.snapshot_id != await harness.snapshot(name)


async def test_an_increment_without_rows_names_no_foreign_snapshot(
    harness: WarehouseHarness,
) -> None:
    name = unique("nothing")
    await harness.built(name, "SELECT 1 AS k", **MERGE)
    run = await harness.built(name, "SELECT 1 AS k WHERE false", **MERGE)
    assert run.output is not None
    assert (run.output.rows, run.output.rows_written, run.output.snapshot_id) == (1, 0, None)


async def test_a_text_that_looks_like_the_end_of_a_statement_stays_a_text(
    harness: WarehouseHarness,
) -> None:
    name = unique("texts")
    await harness.built(name, "SELECT '\\' AS a, '; drop' AS b, '-- no' AS c")
    assert await harness.rows(name) == [{"a": "\\", "b": "; drop", "c": "-- no"}]


async def test_types_that_no_table_holds_are_cast_or_refused(harness: WarehouseHarness) -> None:
    name = unique("types")
    await harness.built(name, "SELECT json_parse('{\"a\":1}') AS j, NULL AS n")
    assert await harness.rows(name) == [{"j": '{"a":1}', "n": None}]
    run = await harness.build(name, "SELECT INTERVAL '1' DAY AS i")
    assert run.failure is not None
    assert run.failure.cause == "sql_error"
    assert "Cast it" in str(run.failure.hint)


@pytest.mark.parametrize(
    ("sql", "position"),
    [
        (
            "SELECT a,\n  grouping(a) AS g, sum(b) AS s\nFROM (VALUES (1, 2)) AS t (a, b)\n"
            "GROUP BY ROLLUP (a)\nORDER BY CASE WHEN grouping(a) = 0 THEN 1 END",
            None,  # Trino gives none
        ),
        ("SELECT 1 AS a,\n  date '2020-01-01' + 1 AS b", {"line": 2, "column": 21}),
        (
            "SELECT n FROM silver.wh_numbers\nWHERE date '2020-01-01' = 'x'",
            {"line": 2, "column": 25},
        ),
    ],
)
async def test_an_error_of_the_user_is_refused_with_its_position(
    harness: WarehouseHarness, sql: str, position: dict[str, int] | None
) -> None:
    with pytest.raises(SqlInvalid) as refused:
        await harness.transform(unique("refused"), sql)
    assert refused.value.members.get("position") == position
    assert not refused.value.detail.startswith("line ")


async def test_a_foreign_view_can_be_read(harness: WarehouseHarness, trino: Trino) -> None:
    view, name = unique("foreign"), unique("reader")
    await asyncio.to_thread(
        trino.execute, f"CREATE VIEW iceberg.gold.{view} SECURITY INVOKER AS SELECT 7 AS a"
    )
    await harness.built(name, f"SELECT a FROM gold.{view}")
    assert await harness.rows(name) == [{"a": 7}]


@pytest.mark.parametrize("sql", ["SELECT * FROM iceberg.gold.{t}", "TABLE iceberg.gold.{t}"])
async def test_a_foreign_view_is_never_left_stale(
    harness: WarehouseHarness, trino: Trino, sql: str
) -> None:
    view, name = unique("foreign"), unique("read")
    await harness.built(name, "SELECT 1 AS a")
    text = sql.format(t=name)
    await asyncio.to_thread(
        trino.execute, f"CREATE VIEW iceberg.gold.{view} SECURITY INVOKER AS {text}"
    )
    run = await harness.build(name, "SELECT 'x' AS a")
    assert run.failure is not None
    assert f"gold.{view}: " in run.failure.message
    read = f"SELECT a FROM iceberg.gold.{view}"
    assert await asyncio.to_thread(trino.execute, read) == [[1]]
    await asyncio.to_thread(trino.execute, f"DROP VIEW iceberg.gold.{view}")
    await harness.built(name, "SELECT 'x' AS a")


async def test_a_run_that_was_cut_off_after_adding_columns_says_so(
    harness: WarehouseHarness, trino: Trino
) -> None:
    name = unique("cut")
    run = await harness.built(name, "SELECT 1 AS a", **APPEND)
    engine: Any = harness.engine
    recorded = await engine.tables.target.before(f"gold.{name}")
    recorded["destination_columns_before"] = [["a", "integer"]]
    cut = run.model_copy(update={"run_id": unique("run"), "engine": recorded})
    assert await engine.reconcile(ModelSpec.model_validate(run.spec), cut) is None
    await asyncio.to_thread(trino.execute, f"ALTER TABLE iceberg.gold.{name} ADD COLUMN b integer")
    with pytest.raises(ReconciledAsFailed) as caught:
        await engine.reconcile(ModelSpec.model_validate(run.spec), cut)
    assert f"added columns to gold.{name}: b. It wrote no rows" in caught.value.error.detail
    assert caught.value.error.retryable
    assert await harness.rows(name) == [{"a": 1, "b": None}]
