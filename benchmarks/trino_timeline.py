"""Where the time of one `POST /dbt/transform` on Trino goes, as its run, dbt and Trino tell it."""

import json
import statistics
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import boto3

from benchmarks.gateway import Gateway
from tests.integration.servers.trino import Trino

PARTS = (
    "SQL checked, columns described by Trino, run recorded",
    "waiting for the turn of the run",
    "tables looked up, model sent to the worker, dbt parses",
    "dbt compiles",
    "dbt starts, statement sent",
    "CREATE OR REPLACE TABLE on Trino",
    "dbt finishes",
    "snapshot, rows and bytes read from the catalog",
    "outcome recorded, request answered",
)
Timeline = dict[str, float]


def transform(gateway: Gateway, model: dict[str, Any]) -> tuple[float, float, str]:
    """When it was asked, when it was answered, and the id of its run."""
    began = time.time()
    run_id = gateway.post("/dbt/transform", model)["run_id"]
    return began, time.time(), str(run_id)


def timeline(
    asked: tuple[float, float, str], gateway: Gateway, trino: Trino, environment: dict[str, str]
) -> Timeline:
    """Seconds by part. All clocks are this machine's."""
    began, answered, run_id = asked
    run = gateway.get(f"/runs/{run_id}")
    dbt = _dbt_timing(run_id, environment)
    created, ended = _statement(trino, run_id)
    times = (
        began,
        _seconds(run["created_at"]),
        _seconds(run["started_at"]),
        _seconds(dbt["compile"]["started_at"]),
        _seconds(dbt["compile"]["completed_at"]),
        created,
        ended,
        _seconds(dbt["execute"]["completed_at"]),
        _seconds(run["finished_at"]),
        answered,
    )
    return {
        part: after - before for part, before, after in zip(PARTS, times, times[1:], strict=False)
    }


def medians(timelines: Sequence[Timeline]) -> Timeline:
    return {part: statistics.median(each[part] for each in timelines) for part in PARTS}


def _dbt_timing(run_id: str, environment: dict[str, str]) -> dict[str, dict[str, str]]:
    s3 = boto3.client(
        "s3",
        endpoint_url=environment["S3_ENDPOINT"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    key = f"asgard/runs/artifacts/{run_id}/run_results.json"
    body = s3.get_object(Bucket=environment["S3_BUCKET"], Key=key)["Body"].read()
    (result,) = json.loads(body)["results"]
    return {step["name"]: step for step in result["timing"]}


def _statement(trino: Trino, run_id: str) -> tuple[float, float]:
    """When Trino took the run's one statement, and when it had done it."""
    ((created, ended),) = trino.execute(
        'SELECT to_unixtime(created), to_unixtime("end") FROM system.runtime.queries '
        f"WHERE query LIKE '%asgard run ' || '{run_id}%'"
    )
    return float(str(created)), float(str(ended))


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
