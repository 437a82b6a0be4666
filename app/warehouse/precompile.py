"""`python -m app.warehouse.precompile`: parses the workers' dbt projects during installation."""

import multiprocessing
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

from app.warehouse.dbt.invocation import Workspace


def _duckdb(folder: Path) -> None:
    from app.warehouse.duckdb.dbt_backend import BACKEND

    Workspace(folder, BACKEND).precompile()


def _trino(folder: Path) -> None:
    from app.warehouse.trino.dbt_backend import backend

    Workspace(folder, backend("lake")).precompile()


def main() -> None:
    for name in [name for name in os.environ if name.startswith("DBT_")]:
        del os.environ[name]  # dbt would apply the user's own target and profile
    # Production installs do not include DuckDB and its adapter.
    precompilers = [_duckdb, _trino] if find_spec("dbt.adapters.duckdb") else [_trino]
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for precompile in precompilers:
            (own := Path(folder) / precompile.__name__).mkdir()
            # Each process loads one dbt adapter, as workers do.
            processes.append(multiprocessing.Process(target=precompile, args=(own,)))
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("dbt could not parse the projects of the workers.")


if __name__ == "__main__":
    main()
