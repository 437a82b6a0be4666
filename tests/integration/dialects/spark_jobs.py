"""Runs in real Spark's own environment: job descriptions from stdin, what became of them to stdout.

python -m tests.integration.dialects.spark_jobs < jobs.json

Each answer is a list of rows, or the message of the `JobError`.
"""

import json
import sys

from pyspark.sql import SparkSession

from app.data_transformation import job


def main() -> None:
    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()
    answers: list[object] = []
    for description in json.load(sys.stdin):
        try:
            rows = job.compute(spark, {"sources": [], **description}, lambda _: None).collect()
            answers.append([list(row) for row in rows])
        except job.JobError as error:
            answers.append(str(error))
    spark.stop()
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
