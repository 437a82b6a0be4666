"""Runs in real Spark's own environment: SQL texts from stdin, what Spark's parser would read to
stdout.

python -m tests.integration.dialects.spark_tables < texts.json

Each answer lists the names of tables, and of functions in the place of a table as `name()`. It is
null for a text that Spark cannot parse.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from pyspark.errors import ParseException
from pyspark.sql import SparkSession


def names_in(plan: Any) -> Iterator[str]:
    match plan.nodeName():
        case "UnresolvedRelation":
            yield plan.multipartIdentifier().mkString(".")
        case "UnresolvedTableValuedFunction":
            yield f"{plan.name().mkString('.')}()"
    for inner in (plan.children(), plan.innerChildren(), plan.subqueries()):
        for number in range(inner.size()):
            yield from names_in(inner.apply(number))


def main() -> None:
    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    session = spark.config("spark.driver.host", "127.0.0.1").getOrCreate()
    parser = session._jsparkSession.sessionState().sqlParser()
    answers: list[list[str] | None] = []
    for sql in json.load(sys.stdin):
        try:
            plan = parser.parsePlan(sql)
        except ParseException:
            answers.append(None)
        else:
            answers.append(sorted(set(names_in(plan))))
    session.stop()
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
