"""A worker's own dbt project: one model at a time, built into the worker's in-memory database.

The models that users take away are elsewhere (`project`); here dbt compiles, runs and reports one
of them, and what it built is then published by `publish`.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from app.warehouse.duckdb_session import engine_error
from app.warehouse.duckdb_types import quoted
from app.worker_loop import Emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbt.artifacts.schemas.run import RunExecutionResult
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest
    from duckdb import DuckDBPyConnection

PACKAGE = "asgard_worker"

MACROS = Path(__file__).with_name("macros") / "worker.sql"
PROJECT = {
    "name": PACKAGE,
    "version": "1.0.0",
    "profile": PACKAGE,
    "model-paths": ["models"],
    "macro-paths": ["macros"],
    "flags": {"send_anonymous_usage_stats": False},
}
PROFILE = {
    PACKAGE: {
        "target": "worker",
        "outputs": {"worker": {"type": "duckdb", "path": ":memory:", "schema": "main"}},
    }
}


@dataclass(frozen=True)
class Model:
    name: str
    sql: str
    """In DuckDB's dialect; nothing in it is read as a template."""
    materialized: str
    description: str
    tags: list[str]
    meta: dict[str, Any]

    @property
    def relation(self) -> str:
        return f"memory.main.{quoted(self.name)}"


class Workspace:
    def __init__(self, folder: Path, connection: DuckDBPyConnection) -> None:
        """Takes seconds: dbt is imported, and runs once."""
        os.environ |= {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DO_NOT_TRACK": "1"}
        self._folder = folder
        for name in ("models", "macros", "artifacts"):
            (folder / name).mkdir()
        (folder / "dbt_project.yml").write_text(yaml.safe_dump(PROJECT))
        (folder / "profiles.yml").write_text(yaml.safe_dump(PROFILE))
        shutil.copy(MACROS, folder / "macros")
        self.run(Model("warm_up", "select 1 as one", "table", "", [], {}), lambda _: None)
        self._take_over(connection)

    def run(self, model: Model, emit: Emit) -> None:
        """Builds the model. Emits lines of the log, and where manifest.json and run_results.json
        are (also of a run that failed). Raises the error of our tree that dbt's stands for."""
        from dbt.cli.main import dbtRunner

        models = self._folder / "models"
        for old in models.iterdir():
            old.unlink()
        (models / f"{model.name}.sql").write_text(_model_file(model))
        parsed = dbtRunner().invoke(["parse", *self._options()])
        if not parsed.success:
            raise engine_error(str(parsed.exception))
        manifest: Manifest = parsed.result  # type: ignore[assignment]
        runner = dbtRunner(manifest=manifest, callbacks=[_listener(emit)])
        done = runner.invoke(
            ["run", "--select", model.name, "--no-populate-cache", *self._options()]
        )
        self._write_artifacts(manifest, done)
        emit({"artifacts": str(self._folder / "artifacts")})
        if not done.success:
            raise engine_error(_failure(done))

    def _options(self) -> list[str]:
        folder = str(self._folder)
        return [
            *("--project-dir", folder, "--profiles-dir", folder),
            *("--target-path", f"{folder}/target", "--log-path", f"{folder}/logs"),
            *("--log-level", "none", "--log-level-file", "none", "--quiet", "--no-use-colors"),
            # Written below, once and without dbt's own macros: dbt writes its manifest twice.
            *("--threads", "1", "--no-version-check", "--no-write-json"),
        ]

    def _take_over(self, connection: DuckDBPyConnection) -> None:
        """dbt-duckdb keeps one connection for all runs of a process; it shall be the locked one,
        which no profile could describe: settings cannot be changed after the lock."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        environment: Any = DuckDBConnectionManager.env()
        environment.close()
        environment.conn = connection

    def _write_artifacts(self, manifest: Manifest, done: dbtRunnerResult) -> None:
        folder = self._folder / "artifacts"
        own: Any = copy.copy(manifest)
        own.macros = {k: v for k, v in manifest.macros.items() if v.package_name == PACKAGE}
        own.write(str(folder / "manifest.json"))
        results: RunExecutionResult | None = done.result  # type: ignore[assignment]
        path = folder / "run_results.json"
        if results is None:
            path.write_text(json.dumps({"results": [], "error": str(done.exception)}))
        else:
            # Without the paths of this machine.
            selected = list(results.args["select"])
            results.args = {
                "which": "run",
                "select": selected,
                "vars": {},
                "invocation_command": f"dbt run --select {' '.join(selected)}",
            }
            results.write(str(path))
        shutil.rmtree(self._folder / "target" / "run", ignore_errors=True)
        shutil.rmtree(self._folder / "target" / "compiled", ignore_errors=True)


def _model_file(model: Model) -> str:
    config = {
        "materialized": model.materialized,
        "tags": model.tags,
        "meta": model.meta,
    }
    # JSON inside a string literal of Jinja: a client's text stays a text.
    text = json.dumps(json.dumps(config), ensure_ascii=True)
    sql = model.sql.replace("{% endraw", "{ % endraw")
    return f"{{{{ config(**fromjson({text})) }}}}\n{{% raw %}}\n{sql}\n{{% endraw %}}\n"


def _listener(emit: Emit) -> Callable[[Any], None]:
    def listen(event: Any) -> None:
        if str(event.info.level) in {"info", "warn", "error"} and event.info.msg.strip():
            emit({"log": event.info.msg})

    return listen


def _failure(done: dbtRunnerResult) -> str:
    results = getattr(done.result, "results", None) or ()
    messages = [str(result.message) for result in results if result.message]
    return messages[0] if messages else str(done.exception or "dbt failed without a message")
