"""`POST /dbt/transform` on real Trino and Nessie, beside the raw statement and the dbt CLI.

    python -m benchmarks.trino

Prints where the time goes, and writes both into `docs/benchmarks.md`. Every request brings SQL that
was not seen before, as a new transformation does.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import document, peers, trino_timeline
from benchmarks.gateway import gateway
from benchmarks.measures import Row
from tests.integration.servers.nessie import start_nessie
from tests.integration.servers.seaweedfs import start_seaweedfs
from tests.integration.servers.trino import VERSION, Trino, start_trino

SQL = "SELECT nationkey, name, regionkey FROM silver.bench_nations WHERE nationkey < "
NAME = "bench_on_trino"
TIMES = 15
WARM_UP = 3
HEADING = "## Production engines: Trino"


def measure(folder: Path) -> tuple[list[Row], trino_timeline.Timeline]:
    with (
        _servers(folder) as (trino, environment),
        gateway(folder / "home", **environment) as running,
    ):
        trino.execute(
            "CREATE OR REPLACE TABLE iceberg.silver.bench_nations AS SELECT * FROM tpch.tiny.nation"
        )
        asked, raws = [], []
        # In turn, so that what else this machine does meets both alike.
        for number in range(WARM_UP + TIMES):
            model = {"name": NAME, "sql_query": f"{SQL}{100 + number}", "materialization": "table"}
            asked.append(trino_timeline.transform(running, model))
            raws.append(_raw(trino, 100 + number))
        asked, raws = asked[WARM_UP:], raws[WARM_UP:]
        timelines = [trino_timeline.timeline(a, running, trino, environment) for a in asked]
        project = running.home / "dbt"
        cli = min(peers.dbt_cli(project, project, NAME) for _ in range(3))
    ours = statistics.median(answered - began for began, answered, _ in asked)
    raw = statistics.median(raws)
    rows = [
        Row(
            "`POST /dbt/transform` on Trino, small table, warm",
            f"{ours:.2f} s",
            f"dbt CLI {cli:.2f} s",
            "≤ 0.4×",
            ours <= 0.4 * cli,
        ),
        Row(
            "the same above the raw statement",
            f"+{ours - raw:.2f} s",
            f"`CREATE OR REPLACE TABLE` {raw:.2f} s",
            "≤ +0.6 s",
            ours - raw <= 0.6,
        ),
    ]
    return rows, trino_timeline.medians(timelines)


def write(rows: list[Row], timeline: trino_timeline.Timeline) -> None:
    document.write_section(
        HEADING,
        [
            f"Measured by `.venv/bin/python -m benchmarks.trino` on Trino {VERSION}, Nessie and",
            f"SeaweedFS, all on {os.cpu_count()} cores. The figures are medians of {TIMES}",
            "requests, each with new SQL, and of as many raw statements by the trino client, taken",
            "in turn. The CLI's figure is the best of 3.",
            "",
            *document.table(rows),
            "",
            "Where the time of the request goes:",
            "",
            "| part | median |",
            "|---|---|",
            *(f"| {part} | {seconds * 1000:.0f} ms |" for part, seconds in timeline.items()),
        ],
    )


def _raw(trino: Trino, number: int) -> float:
    began = time.perf_counter()
    trino.execute(
        "CREATE OR REPLACE TABLE iceberg.gold.bench_raw AS SELECT nationkey, name, regionkey "
        f"FROM iceberg.silver.bench_nations WHERE nationkey < {number}"
    )
    return time.perf_counter() - began


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


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="asgard-bench-trino-") as folder:
        rows, timeline = measure(Path(folder))
    for row in rows:
        print(f"{row.what}: {row.measured} ({row.beside}), target {row.reach}: {row.ok}")
    for part, seconds in timeline.items():
        print(f"{seconds * 1000:6.0f} ms  {part}")
    write(rows, timeline)
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
