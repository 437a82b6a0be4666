"""Sail answers as Spark 3.5 and DuckDB as Trino, statement by statement, in one session each."""

import os

import pytest

from tests.integration.dialects import answers
from tests.integration.dialects.cases import CASES
from tests.integration.dialects.report import DOCUMENT, Pair, document

pytestmark = pytest.mark.timeout(600)

WRITE = os.environ.get("ASGARD_WRITE_DOCS")
"""Set it to rewrite docs/dialects.md from the current answers of the engines."""


def differing(pair: Pair) -> list[str]:
    return [
        case.trino
        for case, embedded, production in zip(CASES, *pair, strict=True)
        if str(embedded) != str(production)
    ]


def test_duckdb_answers_as_trino_does(duckdb_and_trino: Pair) -> None:
    assert differing(duckdb_and_trino) == [case.trino for case in CASES if case.duckdb_differs]


def test_sail_answers_as_spark_does(sail_and_spark: Pair) -> None:
    assert differing(sail_and_spark) == [case.trino for case in CASES if case.sail_differs]


def test_a_job_replaces_no_variables_in_sql(spark_environment: dict[str, str]) -> None:
    """Spark would do so in strings and names, after the guard has checked the SQL."""
    texts = ["${env:PATH}", "${system:user.home}", "${spark.app.name}"]
    told = answers.told_by_spark(
        [f"SELECT '{text}' AS a" for text in texts],
        spark_environment["PYSPARK_PYTHON"],
        spark_environment,
    )
    assert [answer["rows"] for answer in told] == [[[f"{text!r}"]] for text in texts]


def test_the_document_shows_the_current_answers(
    duckdb_and_trino: Pair, sail_and_spark: Pair
) -> None:
    now = document(duckdb_and_trino, sail_and_spark)
    if WRITE:
        DOCUMENT.write_text(now)
    assert DOCUMENT.read_text() == now
