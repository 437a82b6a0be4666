"""`python -m benchmarks`: what runs without servers; the first table of `docs/benchmarks.md`.

`python -m benchmarks.trino` writes its own section there.
"""

import os
import platform
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import airbyte, document, measures, peers
from benchmarks.gateway import gateway


def main() -> int:
    rows = measure()
    table = Table("what", "measured", "compared with", "target", "")
    for row in rows:
        table.add_row(row.what, row.measured, row.beside, row.reach, "ok" if row.ok else "MISSED")
    Console(width=140).print(table)
    write_page(rows)
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


def write_page(rows: list[measures.Row]) -> None:
    document.write_section(
        document.FIRST,
        [
            "",
            "Measured by `.venv/bin/python -m benchmarks`. Each figure is next to its peer's,",
            f"from the same run, on {os.cpu_count()} cores, Python {platform.python_version()}.",
            "",
            *document.table(rows),
        ],
    )


if __name__ == "__main__":
    raise SystemExit(main())
