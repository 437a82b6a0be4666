"""Runs each case on each engine, after the guard and the rewriting, in one session."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from app.errors import AsgardError
from app.sql import rewrite
from app.sql.guard import guard
from app.sql.model import SqlPolicy
from tests.integration.dialects.cases import CASES, Case
from tests.integration.dialects.values import Rows, rows_of

ROOT = Path(__file__).parents[3]
POLICY = SqlPolicy()


@dataclass(frozen=True)
class Answer:
    """Holds rows, the reason of the guard or rewriting for a refusal, or the engine's error."""

    rows: Rows | None = None
    refused: str = ""
    failed: str = ""

    def __str__(self) -> str:
        if self.refused:
            return f"refused: {self.refused}"
        return "fails" if self.failed else "; ".join(", ".join(row) for row in self.rows or [])


def trino_sql(case: Case) -> str:
    return guard.check_query(case.sql("trino"), POLICY).sql


def duckdb_sql(case: Case) -> str:
    return rewrite.to_duckdb(trino_sql(case), POLICY)


def spark_sql(case: Case) -> str:
    script = guard.check_script(case.sql("spark"), POLICY, has_source_path=False)
    return rewrite.bind_script(script, {}, None, "iceberg", POLICY)[1]


def answers(sql_of: Callable[[Case], str], run: Callable[[str], Any]) -> list[Answer]:
    return [_answer(case, sql_of, run) for case in CASES]


def _answer(case: Case, sql_of: Callable[[Case], str], run: Callable[[str], Any]) -> Answer:
    try:
        sql = sql_of(case)
    except AsgardError as error:
        return Answer(refused=str(error.detail))
    try:
        return Answer(rows=rows_of(run(sql)))
    except Exception as error:  # noqa: BLE001 — whatever an engine raises is its answer
        return Answer(failed=f"{type(error).__name__}: {str(error).splitlines()[0]}")


def of_duckdb() -> list[Answer]:
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return answers(duckdb_sql, lambda sql: connection.execute(sql).fetchall())


def of_sail() -> list[Answer]:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    os.environ["TZ"] = "UTC"
    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    try:
        _, port = server.listening_address
        spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
        spark.conf.set("spark.sql.session.timeZone", "UTC")
        try:
            return answers(spark_sql, lambda sql: spark.sql(sql).collect())
        finally:
            spark.stop()
    finally:
        server.stop()


def of_spark(python: str, environment: dict[str, str]) -> list[Answer]:
    """Run the cases on real Spark, with the `python` of its environment."""
    texts = [_answer(case, spark_sql, lambda sql: [[sql]]) for case in CASES]
    statements = [spark_sql(case) for case, text in zip(CASES, texts, strict=True) if text.rows]
    told = iter(told_by_spark(statements, python, environment))
    return [Answer(**next(told)) if text.rows else text for text in texts]


def told_by_spark(
    statements: list[str], python: str, environment: dict[str, str]
) -> list[dict[str, Any]]:
    told = asked_of_spark("spark_session", statements, {**environment, "PYSPARK_PYTHON": python})
    answers: list[dict[str, Any]] = told["answers"]
    return answers


def asked_of_spark(module: str, question: Any, environment: dict[str, str]) -> Any:
    """Return what the module of this folder answers in real Spark's own environment."""
    process = subprocess.run(
        [environment["PYSPARK_PYTHON"], "-m", f"tests.integration.dialects.{module}"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT), "TZ": "UTC"},
    )
    return json.loads(process.stdout.splitlines()[-1])


def of_trino(connection: Any) -> list[Answer]:
    """Run the cases on a connection of the `trino` client."""

    def run(sql: str) -> Any:
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall()

    return answers(trino_sql, run)
