"""`python -m benchmarks`: measures everything, prints the table, writes `docs/benchmarks.md`."""

import os
import platform
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import airbyte, measures, peers
from benchmarks.gateway import gateway

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main() -> int:
    rows = measure()
    table = Table("what", "measured", "beside it", "to reach", "")
    for row in rows:
        table.add_row(row.what, row.measured, row.beside, row.reach, "ok" if row.ok else "MISSED")
    Console(width=140).print(table)
    PAGE.write_text(page(rows))
    return 0 if all(row.ok for row in rows) else 1


def measure() -> list[measures.Row]:
    allowed = str(peers.flights_zip().parent)
    with tempfile.TemporaryDirectory(prefix="asgard-bench-") as folder:
        home = Path(folder)
        with gateway(home, INGESTION_ALLOWED_DIRS=allowed):
            pass
        with gateway(home, INGESTION_ALLOWED_DIRS=allowed) as running:
            rows = measures.process(running, running.ready_seconds)
            rows.append(measures.files_into_bronze(running))
            rows.extend(measures.dbt_transform(running))
            rows.append(measures.spark_run(running))
            rows.extend(measures.reads(running))
            rows.append(measures.connector_sync(running))
    rows.append(airbyte.list_of_sources())
    return rows


def page(rows: list[measures.Row]) -> str:
    lines = [
        "# Benchmarks",
        "",
        "Made by `.venv/bin/python -m benchmarks`; each figure stands beside its peer's, taken in",
        f"the same run, on {os.cpu_count()} cores, Python {platform.python_version()}.",
        "",
        "| what | measured | beside it | to reach | |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        verdict = "reached" if row.ok else "**missed**"
        lines.append(f"| {row.what} | {row.measured} | {row.beside} | {row.reach} | {verdict} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
