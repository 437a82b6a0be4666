"""`POST /dbt/transform` on real Trino and Nessie, beside the raw statement and the dbt CLI."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.gateway import gateway
from benchmarks.measures import Row, median
from tests.integration.servers.nessie import start_nessie
from tests.integration.servers.seaweedfs import start_seaweedfs
from tests.integration.servers.trino import Trino, start_trino

SQL = "SELECT nationkey, name, regionkey FROM silver.bench_nations"
MODEL = {"name": "bench_on_trino", "sql_query": SQL, "materialization": "table"}


def dbt_transform(folder: Path) -> list[Row]:
    with (
        _servers(folder) as (trino, environment),
        gateway(folder / "home", **environment) as running,
    ):
        trino.execute(
            "CREATE OR REPLACE TABLE iceberg.silver.bench_nations AS SELECT * FROM tpch.tiny.nation"
        )
        running.post("/dbt/transform", MODEL)
        parts: list[dict[str, Any]] = []
        ours = median(9, lambda: parts.append(running.post("/dbt/transform", MODEL)))
        inside = statistics.median(part["execution_time_seconds"] for part in parts)
        project = running.home / "dbt"
        cli = min(peers.dbt_cli(project, project, "bench_on_trino") for _ in range(2))
        raw = median(9, lambda: _raw(trino))
    return [
        Row(
            "POST /dbt/transform on Trino, small table, warm",
            f"{ours:.2f} s (its run {inside:.2f} s)",
            f"dbt CLI {cli:.2f} s",
            "≤ 0.4×",
            ours <= 0.4 * cli,
        ),
        Row(
            "the same above the raw statement",
            f"+{ours - raw:.2f} s",
            f"CREATE OR REPLACE TABLE {raw:.2f} s",
            "≤ +0.6 s",
            ours - raw <= 0.6,
        ),
    ]


def _raw(trino: Trino) -> None:
    trino.execute(
        "CREATE OR REPLACE TABLE iceberg.gold.bench_raw AS "
        "SELECT nationkey, name, regionkey FROM iceberg.silver.bench_nations"
    )


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[Trino, dict[str, str]]]:
    seaweedfs = start_seaweedfs(folder / "seaweedfs")
    nessie = start_nessie(folder / "nessie", seaweedfs.s3)
    trino = start_trino(folder / "trino", seaweedfs.s3, nessie.rest_uri())
    try:
        yield (
            trino,
            {
                "ASGARD_EMBEDDED": "ingestion,spark",
                "TRINO_HOST": "127.0.0.1",
                "TRINO_PORT": str(trino.port),
                "S3_BUCKET": seaweedfs.s3.bucket,
                "S3_ENDPOINT": seaweedfs.s3.endpoint or "",
                "AWS_ACCESS_KEY_ID": seaweedfs.s3.access_key or "",
                "AWS_SECRET_ACCESS_KEY": seaweedfs.s3.secret_key or "",
                "NESSIE_URI": nessie.uri,
                "DBT_PROJECT_DIR": str(folder / "home" / "dbt"),
            },
        )
    finally:
        for server in (trino, nessie, seaweedfs):
            server.stop()
