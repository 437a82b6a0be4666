"""`python -m app.warehouse.precompile`: has dbt parse the projects of the workers once."""

import multiprocessing
import tempfile
from contextlib import suppress
from pathlib import Path

from app.warehouse.dbt.invocation import Workspace


def _duckdb(folder: Path) -> None:
    with suppress(ModuleNotFoundError):  # production does without DuckDB
        from app.warehouse.duckdb.dbt_backend import BACKEND

        Workspace(folder, BACKEND).precompile()


def _trino(folder: Path) -> None:
    from app.warehouse.trino.dbt_backend import backend

    Workspace(folder, backend("lake")).precompile()


def main() -> None:
    with tempfile.TemporaryDirectory() as duckdb, tempfile.TemporaryDirectory() as trino:
        # A process has one dbt adapter, as in the workers.
        processes = [
            multiprocessing.Process(target=_duckdb, args=(Path(duckdb),)),
            multiprocessing.Process(target=_trino, args=(Path(trino),)),
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
