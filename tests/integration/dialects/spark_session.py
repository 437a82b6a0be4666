"""Runs in real Spark's own environment: SQL statements from stdin, their answers to stdout.

python -m tests.integration.dialects.spark_session < statements.json
"""

import json
import sys

from pyspark.sql import SparkSession

from app.data_transformation import job
from tests.integration.dialects.values import rows_of


def main() -> None:
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.ansi.enabled", "true")
        .getOrCreate()
    )
    answers = []
    # As a job of Asgard sets its session up, which reads no source here.
    job.compute(
        spark, {"sources": [], "statements": [], "reads": [], "select": "SELECT 1 AS a"}, str
    )
    for sql in json.load(sys.stdin):
        try:
            answers.append({"rows": rows_of(spark.sql(sql).collect())})
        except Exception as error:  # noqa: BLE001 — whatever Spark raises is its answer
            answers.append({"failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"})
    spark.stop()
    print(json.dumps({"version": spark.version, "answers": answers}))


if __name__ == "__main__":
    main()
