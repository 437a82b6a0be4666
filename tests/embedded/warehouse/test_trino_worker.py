"""dbt's worker for Trino sends its gateway only approved statements and knows no secrets."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.errors import AsgardError, EngineFailed, SqlInvalid
from app.failure import FailureCause
from app.processes import WorkerError, WorkerProcess
from app.sql.client import SqlGuardClient
from app.sql.model import SqlPolicy
from app.warehouse.engine import Materialization, ModelSpec
from app.warehouse.trino.client import QueryResult
from app.warehouse.trino.connection import TrinoConnection
from app.warehouse.trino.engine import TrinoEngine
from app.warehouse.trino.publisher import (
    Publisher,
    StatementRefused,
    table_statement,
    validation,
)
from tests.conftest import Lakehouse
from tests.hostile_dbt import macros

SECRET = "the-password-of-trino-9d1f"
HOST = "trino-6b2e.example.com"
TARGET = '"iceberg"."gold"."orders"'
SQL = "SELECT 1 AS a"
APPROVED = table_statement(TARGET, SQL)


@pytest.fixture(scope="module")
async def worker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WorkerProcess]:
    worker = await start("app.warehouse.trino.builder", tmp_path_factory.mktemp("worker"))
    yield worker
    await worker.close()


async def start(module: str, folder: Path, **handshake: Any) -> WorkerProcess:
    return await WorkerProcess.start(
        module,
        name="dbt-worker",
        log_path=folder / "log",
        handshake={"catalog": "iceberg", "folder": str(folder), **handshake},
    )


class Trino:
    """Records the statements that reach it."""

    def __init__(self, error: AsgardError | None = None) -> None:
        self.done: list[str] = []
        self.log: list[str] = []
        self._error = error

    def publisher(self, approved: str) -> Publisher:
        return Publisher(approved, self._execute, self.log.append)

    async def _execute(self, statement: str) -> QueryResult:
        self.done.append(statement)
        if self._error:
            raise self._error
        return QueryResult("20260101_1", [], [], [], 3, "CREATE TABLE")


def build(sql: str = SQL, name: str = "orders", **more: Any) -> dict[str, Any]:
    spec = ModelSpec(schema_name="gold", name=name, sql=sql, **more)
    return {
        "op": "build",
        "spec": spec.model_dump(mode="json"),
        "sql": sql,
        "schema": "gold",
        "name": name,
    }


@pytest.mark.parametrize(
    "sql",
    [
        SQL,
        "SELECT ';' AS a, '--' AS b, '/*' AS c -- the end",
        "\n\n  SELECT 1 AS a,\n\t'two\n\n lines ' AS b\n\n",
        "SELECT 'é \U0001f600 \\ \" '' %s {0} $1' AS a",
        f"SELECT '{'x' * 1_000_000}' AS a",
    ],
)
async def test_a_table_is_built_by_the_one_statement_that_the_gateway_approves(
    worker: WorkerProcess, sql: str
) -> None:
    trino = Trino()
    publisher = trino.publisher(table_statement(TARGET, sql))
    lines: list[str] = []
    await worker.call(
        build(sql),
        on_event=lambda event: lines.append(event.get("log", "")),
        on_ask=publisher.on_ask,
    )
    publisher.conclude(None)
    assert trino.done == [table_statement(TARGET, sql)]
    assert trino.log == []
    assert any("CREATE TABLE (3 rows)" in line for line in lines)


async def test_a_view_is_only_planned(worker: WorkerProcess) -> None:
    trino = Trino()
    publisher = trino.publisher(validation(SQL))
    await worker.call(build(materialization=Materialization.VIEW), on_ask=publisher.on_ask)
    assert trino.done == [f"explain (type validate)\n{SQL}"]


async def test_an_error_of_trino_is_reported_as_it_was_raised(worker: WorkerProcess) -> None:
    trino = Trino(SqlInvalid("line 2:8: no such column", hint="look", position={"line": 2}))
    publisher = trino.publisher(table_statement(TARGET, SQL))
    with pytest.raises(WorkerError, match="line 2:8") as refused:
        await worker.call(build(), on_ask=publisher.on_ask)
    with pytest.raises(SqlInvalid) as raised:
        publisher.conclude(refused.value.to_asgard())
    assert raised.value.members == {"position": {"line": 2}}
    assert worker.alive


@pytest.mark.parametrize("statement", ["drop table {{ this }}", "{{ approved }} /* more */"])
async def test_another_statement_of_a_macro_is_refused_and_never_runs(
    tmp_path: Path, statement: str
) -> None:
    worker = await start("tests.hostile_dbt", tmp_path, macros=macros(statement))
    trino = await refused(worker, APPROVED)
    assert trino.done == []


@pytest.mark.parametrize(
    "statement",
    [
        "select * from iceberg.asgard.runs",
        "create or replace table iceberg.gold.victim as select 1 as a",
        f"{APPROVED}\n",
        f" {APPROVED}",
        f"{APPROVED};",
        f"/* more */ {APPROVED}",
        APPROVED.upper(),
        APPROVED.replace("orders", "victim"),
        validation(SQL),
        "",
        None,
        [APPROVED],
        {"statement": APPROVED},
    ],
)
async def test_another_statement_of_a_worker_is_refused_and_never_runs(
    tmp_path: Path, statement: Any
) -> None:
    worker = await start("tests.hostile_dbt", tmp_path, asks=[statement, APPROVED])
    trino = await refused(worker, APPROVED)
    assert trino.done == []


async def refused(worker: WorkerProcess, approved: str) -> Trino:
    trino = Trino()
    with pytest.raises(StatementRefused) as raised:
        await worker.call(build(), on_ask=trino.publisher(approved).on_ask)
    assert raised.value.error.cause is FailureCause.PERMISSION_DENIED
    assert not worker.alive
    await worker.close()
    [line] = trino.log
    assert line.startswith("Refused a statement from dbt other than the one of this build: ")
    return trino


async def test_the_approved_statement_runs_once(tmp_path: Path) -> None:
    hostile = macros("{{ approved }}", "{{ approved }}", "drop table {{ this }}")
    worker = await start("tests.hostile_dbt", tmp_path, macros=hostile)
    assert (await refused(worker, APPROVED)).done == [APPROVED]


def test_a_dbt_that_ends_without_its_statement_is_an_error() -> None:
    with pytest.raises(EngineFailed, match="without running the statement"):
        Trino().publisher(SQL).conclude(None)


async def test_a_dbt_failure_after_its_statement_finished_changes_nothing() -> None:
    trino = Trino()
    publisher = trino.publisher(SQL)
    await publisher.on_ask({"statement": SQL})
    publisher.conclude(EngineFailed("its report broke"))
    assert trino.log == ["dbt failed after its statement had finished: its report broke"]


async def test_a_worker_knows_nothing_of_trino(
    lakehouse: Lakehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRINO_PASSWORD", SECRET)
    monkeypatch.setenv("TRINO_HOST", HOST)
    engine = TrinoEngine(
        connection=TrinoConnection(HOST, 8443, "svc-3c77", "iceberg", "gold", password=SECRET),
        catalog=lakehouse.catalog,
        store=lakehouse.store,
        sql_guard=SqlGuardClient(SqlPolicy(bucket="b"), log_path=tmp_path / "sql-guard.log"),
        home=tmp_path,
    )
    unknown = {SECRET.encode(), HOST.encode(), b"svc-3c77"}
    try:
        async with engine.workers.builder() as worker:
            process = Path(f"/proc/{worker.pid}")
            seen = [(process / name).read_bytes() for name in ("environ", "cmdline")]
            [folder] = (tmp_path / "warehouse").iterdir()
            seen += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
            assert len(seen) > 5
            seen += await asyncio.to_thread(memory, worker.pid)
    finally:
        await engine.close()
    assert any(str(folder).encode() in part for part in seen)  # the handshake is seen
    assert [secret for secret in unknown if any(secret in part for part in seen)] == []


def memory(pid: int) -> list[bytes]:
    """Return what the process can read of itself, as far as its parent may see it."""
    regions = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as process:
        for region in psutil.Process(pid).memory_maps(grouped=False):
            if "r" not in region.perms or "w" not in region.perms:
                continue
            begin, end = (int(part, 16) for part in region.addr.split("-"))
            try:
                process.seek(begin)
                regions.append(process.read(end - begin))
            except OSError:
                continue
    return regions


async def test_a_long_running_worker_does_not_accumulate_flags_of_adapters(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from app.warehouse.trino.builder import TrinoBuilder
from dbt.adapters.base.impl import DEFAULT_BASE_BEHAVIOR_FLAGS

class Gateway:
    def __call__(self, event): pass
    def ask(self, question): return {{"query_id": "", "update_type": None, "changed": 0}}

worker = TrinoBuilder("iceberg", Path({str(tmp_path)!r}))
for _ in range(4):
    worker.build({build()!r}, Gateway())
    print(len(DEFAULT_BASE_BEHAVIOR_FLAGS))
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": "."},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    counted = output.decode().split()
    assert len(counted) == 4
    assert len(set(counted)) == 1
