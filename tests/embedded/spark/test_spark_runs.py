"""Spark runs under the gateway's supervisor, on the embedded engine."""

import asyncio
import gzip
import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from app.caller import ANONYMOUS
from app.data_transformation.engine import Reading, SparkJob, SparkWork, WriteMode
from app.data_transformation.resources import SparkResources
from app.data_transformation.run_handler import SparkRunHandler
from app.data_transformation.sail.engine import SparkConnectEngine
from app.data_transformation.source_files import SourceResolver
from app.errors import EngineFailed
from app.failure import FailureCause
from app.lakehouse.bronze.manifests import BronzeFile, BronzeManifests
from app.lakehouse.connection import Lake
from app.runs.model import Run, RunKind, RunState
from app.runs.service import RunService
from app.runs.submission import RunRequest, Submission
from tests.conftest import Lakehouse
from tests.doors import Door, Request, doors_of, inner_ports, knock, network_of
from tests.no_views import NoViews
from tests.patience import until

ENDLESS = (
    "SELECT count(*) AS n FROM range(1000000000) a CROSS JOIN range(1000000000) b "
    "WHERE (a.id * b.id) % 7 = 3"
)
"""Identifies this module's worker among those of the application that other tests run."""


@dataclass
class Spark:
    lakehouse: Lakehouse
    engine: SparkConnectEngine
    runs: RunService

    async def start(
        self,
        select: str,
        destination: str,
        *,
        mode: str = "overwrite",
        reads: dict[str, str] | None = None,
        views: tuple[tuple[str, str], ...] = (),
        tables: tuple[str, ...] = (),
        **resources: Any,
    ) -> Run:
        work = SparkWork(
            sql=select,
            source_path=None,
            destination=f"silver.{destination}",
            write_mode=WriteMode(mode),
            readings=tuple(Reading(view=view, path=path) for view, path in (reads or {}).items()),
            views=views,
            select=select,
            tables=tables,
            resources=SparkResources(**resources),
        )
        request = RunRequest(
            kind=RunKind.SPARK,
            target=work.destination,
            spec=work.model_dump(mode="json"),
        )
        return (await self.runs.start(request, Submission(ANONYMOUS))).run

    async def run(self, select: str, destination: str, **more: Any) -> Run:
        run = await self.start(select, destination, **more)
        return await self.runs.wait(run.run_id, 60)

    async def ok(self, select: str, destination: str, **more: Any) -> Run:
        run = await self.run(select, destination, **more)
        assert run.state is RunState.SUCCEEDED, run.failure
        return run

    async def rows(self, table: str) -> list[dict[str, Any]]:
        def scan(catalog: Any) -> list[dict[str, Any]]:
            read: list[dict[str, Any]] = (
                catalog.load_table(f"silver.{table}").scan().to_arrow().to_pylist()
            )
            return read

        result = await self.lakehouse.catalog.run(scan)
        return sorted(result, key=lambda row: [(v is None, str(v)) for v in row.values()])

    async def put(self, key: str, body: bytes) -> None:
        await self.lakehouse.store.put(key, body)

    async def staged(self, run: Run) -> list[str]:
        tables = await self.lakehouse.catalog.list_tables("asgard_staging")
        return [table for table in tables if run.run_id in table]

    async def until_computing(self, run: Run) -> psutil.Process:
        """Return the worker, once it works on the run."""
        async for _ in self.runs.events(run.run_id):
            now = await self.runs.get(run.run_id)
            if now.engine_state == "RUNNING":
                [message] = [e.message for e in now.events if "in process" in e.message]
                return psutil.Process(int(message.rpartition(" ")[2]))
        raise AssertionError("the run ended before it was running")


@asynccontextmanager
async def running(
    lakehouse: Lakehouse, lake: Lake, publisher_lake: Lake | None = None
) -> AsyncIterator[Spark]:
    """Run Spark whose workers use `lake`. Everything else uses the real one."""
    store, catalog = lakehouse.store, lakehouse.catalog
    engine = SparkConnectEngine(
        sail_lake=lake,
        publisher_lake=publisher_lake or lakehouse.silver_publisher_lake,
        store=store,
        catalog=catalog,
        home=lakehouse.home,
        workers=1,
    )
    driver = SparkRunHandler(
        engine, catalog, SourceResolver(store, BronzeManifests(store)), NoViews()
    )
    runs = RunService(
        store=store,
        catalog=catalog,
        settings=lakehouse.settings,
        handlers={RunKind.SPARK: driver},
    )
    await runs.open()
    await engine.warm()
    try:
        yield Spark(lakehouse, engine, runs)
    finally:
        await runs.close(grace=1)
        await engine.close()


@pytest.fixture(scope="module")
async def spark(lakehouse: Lakehouse) -> AsyncIterator[Spark]:
    await lakehouse.catalog.ensure_namespaces()
    async with running(lakehouse, lakehouse.sail_lake) as spark:
        yield spark


def parquet(**columns: list[Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


async def test_a_run_publishes_its_result_under_its_id(spark: Spark) -> None:
    run = await spark.ok("SELECT 1 AS id, 'a' AS name UNION ALL SELECT 2, NULL", "sr_first")
    assert await spark.rows("sr_first") == [{"id": 1, "name": "a"}, {"id": 2, "name": None}]
    table = await spark.lakehouse.catalog.table("silver.sr_first")
    assert table is not None
    assert run.output is not None
    assert (run.output.rows, run.output.files) == (2, 1)
    assert run.output.snapshot_id == table.snapshot_id
    assert [c.nullable for c in table.columns] == [True, True]
    snapshot = await spark.lakehouse.catalog.find_snapshot("silver.sr_first", run.run_id)
    assert snapshot is not None
    assert await spark.staged(run) == []
    assert run.engine["spark_version"].startswith("Sail ")
    assert "columns: id int, name string" in await spark.runs.logs(run.run_id)


async def test_statements_views_ctes_windows_and_unicode_names(spark: Spark) -> None:
    await spark.ok(
        "WITH r AS (SELECT `straße`, wert, row_number() OVER (PARTITION BY `straße` "
        "ORDER BY wert DESC) AS platz FROM doppelt) "
        "SELECT `straße`, wert AS `größe` FROM r WHERE platz = 1",
        "sr_unicode",
        views=(
            ("roh", "SELECT * FROM VALUES ('Öl', 1), ('Öl', 3), ('日本', 2) AS t(`straße`, wert)"),
            ("doppelt", "SELECT `straße`, wert * 2 AS wert FROM roh"),
        ),
    )
    assert await spark.rows("sr_unicode") == [
        {"straße": "Öl", "größe": 6},
        {"straße": "日本", "größe": 4},
    ]


async def test_the_na_of_a_csv_becomes_null_and_typed(spark: Spark) -> None:
    await spark.put("bronze/sr_csv/a.csv", b"id,delay\n1,5\n2,NA\n")
    await spark.put("bronze/sr_csv/b.csv.gz", gzip.compress(b"id,delay\n3,-7\n"))
    run = await spark.ok(
        "SELECT CAST(id AS BIGINT) AS id, TRY_CAST(NULLIF(delay, 'NA') AS INT) AS delay FROM c",
        "sr_csv",
        reads={"c": "bronze/sr_csv"},
    )
    assert await spark.rows("sr_csv") == [
        {"id": 1, "delay": 5},
        {"id": 2, "delay": None},
        {"id": 3, "delay": -7},
    ]
    assert [(i.table, i.run_ids) for i in run.inputs] == [("bronze/sr_csv", ())]


@pytest.mark.parametrize(
    ("name", "decoy"),
    [
        ("a%41.csv", "aA.csv"),
        ("%5Fhidden.csv", "_hidden.csv"),
        ("ts=2024-01-01 00%3A00%3A00/a.csv", "ts=2024-01-01 00:00:00/a.csv"),
        ("a%23b%20c.csv", "a#b c.csv"),
        ("a#b c;d:e,f&g=h+i@j!k'(l)~.csv", "a"),
        ("ä 日本.csv", "a.txt"),
    ],
)
async def test_every_key_is_read_as_it_is(spark: Spark, name: str, decoy: str) -> None:
    """Sail decodes paths. It read another file, or no rows, and the run succeeded."""
    path = f"bronze/sr_keys_{uuid4().hex[:8]}"
    await spark.put(f"{path}/{name}", b"id\n1\n")
    await spark.put(f"{path}/_other/{decoy}", b"id\n2\n")
    await spark.ok("SELECT CAST(id AS INT) AS id FROM k", "sr_keys", reads={"k": path})
    assert await spark.rows("sr_keys") == [{"id": 1}]


async def test_files_of_different_columns_are_read_together(spark: Spark) -> None:
    await spark.put("bronze/sr_mixed/1.parquet", parquet(id=[1], a=["x"]))
    await spark.put("bronze/sr_mixed/2.parquet", parquet(id=[2], b=[2.5]))
    await spark.ok("SELECT id, a, b FROM m", "sr_mixed", reads={"m": "bronze/sr_mixed"})
    assert await spark.rows("sr_mixed") == [
        {"id": 1, "a": "x", "b": None},
        {"id": 2, "a": None, "b": 2.5},
    ]


async def test_an_overwrite_may_change_the_schema_even_of_what_it_reads(spark: Spark) -> None:
    await spark.ok("SELECT 1 AS id, 'a' AS name", "sr_evolves")
    run = await spark.ok(
        "SELECT CAST(id AS STRING) AS id, named_struct('n', name) AS more "
        "FROM iceberg.silver.sr_evolves",
        "sr_evolves",
        tables=("silver.sr_evolves",),
    )
    assert await spark.rows("sr_evolves") == [{"id": "1", "more": {"n": "a"}}]
    assert [i.table for i in run.inputs] == ["silver.sr_evolves"]
    again = await spark.ok(
        "SELECT more.n AS name FROM iceberg.silver.sr_evolves",
        "sr_evolved_copy",
        tables=("silver.sr_evolves",),
    )
    assert run.output is not None
    assert again.inputs[0].snapshot_id == run.output.snapshot_id
    assert await spark.rows("sr_evolved_copy") == [{"name": "a"}]


async def test_appends_add_rows_and_null_what_they_lack(spark: Spark) -> None:
    await spark.ok("SELECT 1L AS id, 'a' AS name", "sr_appended", mode="append")
    await spark.ok("SELECT 'b' AS name, 2 AS id", "sr_appended", mode="append")
    run = await spark.ok("SELECT 3L AS ID", "sr_appended", mode="append")
    assert await spark.rows("sr_appended") == [
        {"id": 1, "name": "a"},
        {"id": 2, "name": "b"},
        {"id": 3, "name": None},
    ]
    assert run.output is not None
    assert (run.output.rows, run.output.rows_written) == (3, 1)


@pytest.mark.parametrize(
    ("select", "says"),
    [
        ("SELECT 2 AS id, 1 AS extra, 2 AS more", "has no column extra, more"),
        ("SELECT 'two' AS id", "id is string, but in silver.sr_strict it is int"),
        ("SELECT 2L AS id", "id is bigint, but in silver.sr_strict it is int"),
        ("SELECT 2 AS id, 3 AS ID", "more than one column called ID"),
    ],
)
async def test_an_append_that_does_not_fit_is_refused_and_changes_nothing(
    spark: Spark, select: str, says: str
) -> None:
    await spark.ok("SELECT 1 AS id", "sr_strict")
    run = await spark.run(select, "sr_strict", mode="append")
    assert run.state is RunState.FAILED
    assert run.failure is not None
    assert run.failure.cause == "sql_error"
    assert says in run.failure.message
    assert await spark.rows("sr_strict") == [{"id": 1}]
    assert await spark.staged(run) == []


@pytest.mark.parametrize(
    ("select", "says"),
    [
        ("SELECT named_struct('a', 1, 'A', 2) AS s", "several fields named A"),
        ("SELECT array(named_struct('a', 1, 'A', 2)) AS s", "several fields named A"),
        ("SELECT map('k', named_struct('b', named_struct('a', 1, 'A', 2))) AS s", "s.b"),
        ("SELECT s.* FROM (SELECT named_struct('x\\0a', 1) AS s)", "a NUL character in its name"),
        ("SELECT 1 AS _File", "Iceberg reserves the name of the column _File"),
        ("SELECT named_struct('x', named_struct('y\\0', 1)) AS s", "a NUL character in its name"),
    ],
)
async def test_names_that_no_engine_could_read_again_are_refused(
    spark: Spark, select: str, says: str
) -> None:
    run = await spark.run(select, "sr_names")
    assert run.failure is not None
    assert run.failure.cause is FailureCause.SQL_ERROR
    assert says in run.failure.message
    assert await spark.lakehouse.catalog.table("silver.sr_names") is None


@pytest.mark.parametrize(
    ("select", "cause", "says"),
    [
        ("SELECT nope FROM VALUES (1) AS t(id)", "sql_error", "There is no column nope."),
        ("SELECT * FROM iceberg.silver.sr_no", "table_not_found", "silver.sr_no"),
        ("SELECT 1 / 0 AS id", "sql_error", "divide by zero"),
        ("SELECT CAST('x' AS INT) AS id", "sql_error", "Cannot cast string 'x'"),
        ("SELECT NULL AS id", "sql_error", "The column id has the type void"),
        ("SELECT INTERVAL 1 DAY AS id", "sql_error", "give it another type with CAST"),
        ("SELECT 1 AS id, 2 AS id", "sql_error", "more than one column called id"),
    ],
)
async def test_a_failed_run_says_why_and_leaves_the_existing_table(
    spark: Spark, select: str, cause: str, says: str
) -> None:
    await spark.ok("SELECT 1 AS id", "sr_kept")
    run = await spark.run(select, "sr_kept")
    assert run.state is RunState.FAILED
    assert run.failure is not None
    assert run.failure.cause == cause
    assert says in run.failure.message
    assert "Traceback" not in run.failure.message
    assert await spark.rows("sr_kept") == [{"id": 1}]
    assert await spark.staged(run) == []


async def test_a_job_beyond_its_memory_fails_with_a_hint_to_request_more(spark: Spark) -> None:
    run = await spark.run(
        "SELECT collect_list(repeat(CAST(id AS STRING), 100)) AS everything FROM range(20000000)",
        "sr_memory",
        executor_memory="450m",
    )
    assert run.failure is not None
    assert run.failure.cause == "out_of_memory"
    assert "executor_memory" in (run.failure.hint or "")


async def test_every_type_of_a_table_is_preserved(spark: Spark) -> None:
    await spark.ok(
        "SELECT CAST(1 AS TINYINT) AS tiny, 2L AS big, CAST(1.5 AS DECIMAL(10, 2)) AS money, "
        "1.5D AS double, TRUE AS yes, DATE'2013-01-01' AS day, "
        "TIMESTAMP'2013-01-01 05:15:00' AS at, TIMESTAMP_NTZ'2013-01-01 05:15:00' AS local, "
        "CAST('x' AS BINARY) AS bytes, array(1, NULL) AS list, map('k', 1) AS map, "
        "named_struct('a', 1, 'b', array('c')) AS struct",
        "sr_types",
    )
    assert await spark.rows("sr_types") == [
        {
            "tiny": 1,
            "big": 2,
            "money": Decimal("1.50"),
            "double": 1.5,
            "yes": True,
            "day": date(2013, 1, 1),
            "at": datetime(2013, 1, 1, 5, 15, tzinfo=UTC),
            "local": datetime(2013, 1, 1, 5, 15),  # noqa: DTZ001 — it has no zone
            "bytes": b"x",
            "list": [1, None],
            "map": [("k", 1)],
            "struct": {"a": 1, "b": ["c"]},
        }
    ]
    table = await spark.lakehouse.catalog.table("silver.sr_types")
    assert table is not None
    types = {column.name: column.type for column in table.columns}
    assert types["at"] == "timestamp(6) with time zone"
    assert types["local"] == "timestamp(6)"
    assert types["money"] == "decimal(10,2)"
    await spark.ok("SELECT * FROM iceberg.silver.sr_types", "sr_types", mode="append")
    assert len(await spark.rows("sr_types")) == 2


async def test_json_lines_gzipped_or_not_keep_their_nesting(spark: Spark) -> None:
    await spark.put("bronze/sr_json/a.jsonl", b'{"id":1,"tags":["x"]}\n')
    await spark.put("bronze/sr_json/b.json.gz", gzip.compress(b'{"id":2,"more":{"n":1}}\n'))
    await spark.ok("SELECT id, tags, more.n AS n FROM j", "sr_json", reads={"j": "bronze/sr_json"})
    assert await spark.rows("sr_json") == [
        {"id": 1, "tags": ["x"], "n": None},
        {"id": 2, "tags": None, "n": 1},
    ]


async def test_a_result_without_rows_is_a_table_without_rows(spark: Spark) -> None:
    run = await spark.ok("SELECT 1 AS id WHERE FALSE", "sr_empty")
    assert await spark.rows("sr_empty") == []
    assert run.output is not None
    assert run.output.rows == 0


async def test_a_table_has_the_rows_in_the_order_of_the_result(spark: Spark) -> None:
    await spark.ok("SELECT id FROM range(300000) ORDER BY id DESC", "sr_ordered")

    def ids(catalog: Any) -> list[int]:
        rows = catalog.load_table("silver.sr_ordered").scan().to_arrow()
        ids: list[int] = rows["id"].to_pylist()
        return ids

    assert await spark.lakehouse.catalog.run(ids) == [*range(299999, -1, -1)]


async def test_a_large_result_is_never_in_memory_as_a_whole(spark: Spark) -> None:
    run = await spark.start("SELECT id, repeat('x', 300) AS text FROM range(2000000)", "sr_large")
    worker = await spark.until_computing(run)
    peak = 0

    async def ended() -> bool:
        nonlocal peak
        peak = max(peak, worker.memory_info().rss)
        return (await spark.runs.get(run.run_id)).state.is_terminal

    assert await until(ended, 90)
    done = await spark.runs.get(run.run_id)
    assert done.output is not None, done.failure
    assert done.output.rows == 2_000_000
    assert peak < 450 * 2**20  # the rows are 600 MiB, and an idle worker is 250 MiB


async def test_the_file_of_a_worker_is_removed_after_its_run(
    spark: Spark, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: SparkJob) -> None:
        raise EngineFailed("It is not published.")

    def results() -> list[Path]:
        return list((spark.lakehouse.home / "spark").rglob("*.arrow"))

    await spark.ok("SELECT 1 AS id", "sr_handed_over")
    # The worker of an earlier test may still be ending, and takes its folder with it.
    assert await until(lambda: not results())
    with monkeypatch.context() as patch:
        patch.setattr(spark.engine, "_check_sources", refuse)
        run = await spark.run("SELECT 1 AS id", "sr_handed_over")
    assert run.state is RunState.FAILED
    assert results() == []


async def test_a_cancelled_job_is_stopped_and_leaves_nothing(spark: Spark) -> None:
    await spark.ok("SELECT 1 AS id", "sr_cancelled")
    run = await spark.start(ENDLESS, "sr_cancelled")
    worker = await spark.until_computing(run)
    await spark.runs.cancel(run.run_id, ANONYMOUS)
    ended = await spark.runs.wait(run.run_id, 20)
    assert ended.state is RunState.CANCELLED
    await asyncio.to_thread(worker.wait, 10)
    assert await spark.rows("sr_cancelled") == [{"id": 1}]
    assert await spark.staged(run) == []
    await spark.ok("SELECT 2 AS id", "sr_cancelled")


async def test_a_killed_worker_ends_its_run_and_the_next_one_succeeds(spark: Spark) -> None:
    run = await spark.start(ENDLESS, "sr_killed")
    worker = await spark.until_computing(run)
    os.kill(worker.pid, signal.SIGKILL)
    ended = await spark.runs.wait(run.run_id, 20)
    assert ended.state is RunState.FAILED
    assert ended.failure is not None
    assert ended.failure.cause == "lost"
    assert ended.failure.retryable
    assert "The Spark worker did not finish the job" in ended.failure.message
    assert await spark.lakehouse.catalog.table("silver.sr_killed") is None
    assert await spark.staged(run) == []
    await spark.ok("SELECT 2 AS id", "sr_killed")


@pytest.mark.parametrize("away", ["catalog", "s3"])
async def test_an_outage_fails_the_run_as_retryable(
    lakehouse: Lakehouse, unused_tcp_port: int, away: str
) -> None:
    nowhere = f"http://127.0.0.1:{unused_tcp_port}"
    lake = lakehouse.sail_lake
    if away == "catalog":
        tokens = f"{nowhere}/v1/oauth/tokens"
        gone = replace(lake.catalog, uri=nowhere, oauth2_server_uri=tokens, signs_tokens=False)
        lake = replace(lake, catalog=gone)
    else:
        lake = replace(lake, s3=replace(lake.s3, endpoint=nowhere))
    await lakehouse.store.put("bronze/sr_outage/1.parquet", parquet(id=[1]))
    async with running(lakehouse, lake) as spark:
        run = await spark.run("SELECT * FROM o", "sr_out", reads={"o": "bronze/sr_outage"})
        assert run.state is RunState.FAILED
        assert run.failure is not None
        assert run.failure.cause == "engine_unreachable"
        assert run.failure.retryable
        assert await spark.staged(run) == []


async def test_sparks_port_is_in_a_network_of_the_workers_own(spark: Spark) -> None:
    """Sail accepts every client that can connect to it."""
    run = await spark.start(ENDLESS, "sr_doors")
    worker = await spark.until_computing(run)
    lake = spark.lakehouse.lake
    [port] = await until(lambda: inner_ports(worker.pid) - {port for _, port in lake.hosts})
    assert network_of(worker.pid) != network_of(os.getpid())
    doors = [*doors_of(worker.pid), Door("sail", port=port)]
    requests = [Request("GET", "/"), Request("POST", "/")]
    methods = ["/spark.connect.SparkConnectService/Config"]
    assert await asyncio.to_thread(knock, doors, requests, methods) == []
    await spark.runs.cancel(run.run_id, ANONYMOUS)


async def test_reconciling_repeatedly_returns_the_same_result(spark: Spark) -> None:
    done = await spark.ok("SELECT 1 AS id", "sr_settled")
    for _ in range(2):
        outcome = await spark.engine.reconcile(done)
        assert outcome is not None
        assert outcome.output == done.output
    failed = await spark.run("SELECT nope", "sr_settled")
    assert await spark.engine.reconcile(failed) is None
    assert await spark.rows("sr_settled") == [{"id": 1}]


async def test_a_staging_table_of_a_dead_gateway_of_an_earlier_version_is_dropped(
    spark: Spark,
) -> None:
    from pyiceberg.schema import Schema

    run = await spark.run("SELECT nope", "sr_orphan")
    name = f"asgard_staging.spark_{run.run_id}"
    await spark.lakehouse.catalog.run(lambda catalog: catalog.create_table(name, Schema()))
    assert await spark.staged(run) == [name]
    assert await spark.engine.reconcile(run) is None
    assert await spark.staged(run) == []


async def test_a_path_that_has_become_empty_fails_the_run(spark: Spark) -> None:
    run = await spark.run("SELECT * FROM gone", "sr_gone", reads={"gone": f"bronze/{uuid4().hex}"})
    assert run.failure is not None
    assert run.failure.cause == "table_not_found"
    assert "There are no data files at bronze/" in run.failure.message


async def test_an_ingested_path_is_read_without_the_files_of_an_unfinished_sync(
    spark: Spark,
) -> None:
    half, whole = "bronze/sr_synced/half.parquet", "bronze/sr_synced/whole.parquet"
    await spark.put(half, parquet(id=[1]))
    await spark.put(whole, parquet(id=[2]))
    await commit_sync(spark, "bronze/sr_synced", whole)
    run = await spark.ok("SELECT id FROM s", "sr_synced", reads={"s": "bronze/sr_synced"})
    assert await spark.rows("sr_synced") == [{"id": 2}]
    assert [(i.table, i.run_ids, i.source) for i in run.inputs] == [
        ("bronze/sr_synced", ("5" * 32,), "shop")
    ]


async def test_a_file_that_vanishes_before_it_is_read_publishes_nothing(spark: Spark) -> None:
    """Sail itself would read it as a file without rows."""
    await spark.put("bronze/sr_lost/1.parquet", parquet(id=[1]))
    await commit_sync(
        spark, "bronze/sr_lost", "bronze/sr_lost/1.parquet", "bronze/sr_lost/2.parquet"
    )
    run = await spark.run("SELECT id FROM s", "sr_lost", reads={"s": "bronze/sr_lost"})
    assert run.state is RunState.FAILED
    assert run.failure is not None
    assert "bronze/sr_lost/ were removed while they were read" in run.failure.message
    assert await spark.lakehouse.catalog.table("silver.sr_lost") is None
    assert await spark.staged(run) == []


async def commit_sync(spark: Spark, path: str, *keys: str) -> None:
    manifests = BronzeManifests(spark.lakehouse.store)
    held = await manifests.begin(uuid4().hex, "5" * 32, "shop", [path])
    files = tuple(BronzeFile(key=key, rows=1, bytes=10, run_id="5" * 32) for key in keys)
    await manifests.commit(held, {path: files}, replaced=frozenset(), state={}, outputs=())
