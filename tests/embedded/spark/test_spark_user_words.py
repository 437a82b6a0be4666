"""A column named `user` is a column in Spark SQL, and never the function with that name."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from app.errors import SqlFunctionRefused
from app.sql.guard.guard import check_script
from app.sql.model import SqlPolicy

POLICY = SqlPolicy(
    silver_schema="silver", gold_schema="gold", bucket="lake", allowed_prefixes=("bronze/",)
)
VIEWS = (
    "CREATE TEMP VIEW t AS SELECT 'of t' AS `{word}`, 1 AS x;"
    "CREATE TEMP VIEW bare AS SELECT 1 AS x;"
)
words = pytest.mark.parametrize("word", ["user", "current_user", "session_user", "USER"])


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """Return Sail, for which as for Spark a quoted name without a column is the function."""
    with pytest.MonkeyPatch.context() as patch:
        # PySpark takes a main module without a file, as xdist's is, for its own doctests.
        patch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
        import pyspark.sql.connect.session  # noqa: F401
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    opened = SparkSession.builder.remote(f"sc://127.0.0.1:{server.listening_address[1]}").create()
    assert opened.sql("SELECT `user` FROM (SELECT 1 AS x)").columns == ["current_user()"]
    yield opened
    opened.stop()
    server.stop()


def rows(spark: Any, sql: str, word: str) -> list[tuple[Any, ...]]:
    script = check_script(VIEWS.format(word=word) + sql.format(word=word), POLICY, False)
    for name, query in script.views:
        spark.sql(query).createOrReplaceTempView(name)
    return [tuple(row) for row in spark.sql(script.select).collect()]


@words
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT `{word}` AS a FROM t",
        "SELECT `{word}` AS a FROM t WHERE `{word}` = 'of t' ORDER BY `{word}`",
        "SELECT y.`{word}` AS a FROM t AS y JOIN bare ON y.x = bare.x",
        "SELECT y.{word} AS a FROM t AS y",
        "WITH c AS (SELECT `{word}` FROM t) SELECT `{word}` AS a FROM c",
        "SELECT `{word}` FROM (SELECT `{word}` FROM t) AS s GROUP BY `{word}`",
        "SELECT (SELECT max(`{word}`) FROM t) AS a FROM bare",
        "SELECT 'of t' AS a FROM t JOIN t AS u USING (`{word}`)",
        "SELECT lower('OF T') AS `{word}` FROM bare ORDER BY `{word}`",
        "SELECT `{word}` AS a FROM t UNION ALL SELECT `{word}` FROM t WHERE false",
        "SELECT transform(array('of t'), `{word}` -> `{word}`)[0] AS a FROM bare",
    ],
)
def test_a_column_is_read(spark: Any, word: str, sql: str) -> None:
    assert rows(spark, sql, word) == [("of t",)]


@words
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT `{word}` AS a FROM bare",
        "SELECT x FROM bare WHERE `{word}` = ''",
        "SELECT max(x) FROM bare GROUP BY `{word}`",
        "SELECT b.`{word}` AS a FROM bare AS b",
        "SELECT (SELECT max(`{word}`) FROM bare) AS a FROM t",
    ],
)
def test_a_column_that_does_not_exist_is_missing(spark: Any, word: str, sql: str) -> None:
    with pytest.raises(Exception, match="cannot resolve attribute"):
        rows(spark, sql, word)


@words
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT {word} AS a FROM t",
        "SELECT x FROM t WHERE {word} = 'of t'",
        "SELECT x FROM t ORDER BY {word}",
        "SELECT {word}() AS a",
        "SELECT `{word}`() AS a",
        "SELECT `{word}` AS a",
        "SELECT `{word}` AS a FROM t JOIN bare ON t.x = bare.x",
        "SELECT `{word}` AS a FROM t, bare",
        "SELECT `{word}` AS a FROM csv.`x.csv`",
        "SELECT x FROM t LATERAL VIEW explode(array(1)) e AS y WHERE `{word}` = ''",
    ],
)
def test_an_ambiguous_function_name_is_refused(word: str, sql: str) -> None:
    script = VIEWS.format(word=word) + sql.format(word=word)
    with pytest.raises(SqlFunctionRefused) as refusal:
        check_script(script, POLICY, False)
    assert refusal.value.detail == f"The function {word.lower()!r} is not allowed."


def test_the_refusal_says_how_to_read_a_column() -> None:
    with pytest.raises(SqlFunctionRefused) as refusal:
        check_script("SELECT user AS a FROM silver.t", POLICY, False)
    expected = "For a column with this name, write the table's name or alias first: t.`user`."
    assert refusal.value.hint == expected
    assert refusal.value.members["position"] == {"line": 1, "column": 8}
    check_script("SELECT t.`user` AS a FROM silver.t", POLICY, False)
