"""A worker's own dbt project: one model at a time, built where the worker's backend says.

The models that users take away are elsewhere (`project`); here dbt compiles, runs and reports one
of them, and what it built is then published by `publish`.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from app.errors import AsgardError
from app.warehouse.duckdb_types import quoted
from app.worker_loop import Emit

if TYPE_CHECKING:
    from dbt.artifacts.schemas.run import RunExecutionResult
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest

PACKAGE = "asgard_worker"

PROJECT = {
    "name": PACKAGE,
    "version": "1.0.0",
    "profile": PACKAGE,
    "model-paths": ["models"],
    "macro-paths": ["macros"],
    "flags": {"send_anonymous_usage_stats": False},
}


@dataclass(frozen=True)
class Backend:
    """Where a worker's models are built. `output` is that of dbt's profile."""

    macros: Path
    output: dict[str, Any]
    error: Callable[[str], AsgardError]
    """The error of our tree that a message of dbt stands for."""
    project: dict[str, Any] = field(default_factory=dict)
    """What `dbt_project.yml` holds besides."""


@dataclass(frozen=True)
class Model:
    name: str
    sql: str
    """In the backend's dialect; nothing in it is read as a template."""
    materialized: str
    description: str
    tags: list[str]
    meta: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    """Whatever else the backend's materializations want."""

    @property
    def relation(self) -> str:
        """In a worker's DuckDB."""
        return f"memory.main.{quoted(self.name)}"


class Workspace:
    def __init__(self, folder: Path, backend: Backend) -> None:
        """The first `run` takes seconds: dbt is imported."""
        os.environ |= {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DO_NOT_TRACK": "1"}
        self._folder = folder
        self._backend = backend
        for name in ("models", "macros", "artifacts"):
            (folder / name).mkdir()
        profile = {PACKAGE: {"target": "worker", "outputs": {"worker": backend.output}}}
        (folder / "dbt_project.yml").write_text(yaml.safe_dump({**PROJECT, **backend.project}))
        (folder / "profiles.yml").write_text(yaml.safe_dump(profile))
        shutil.copy(backend.macros, folder / "macros")

    def run(self, model: Model, emit: Emit) -> None:
        """Builds the model. Emits lines of the log, and the texts of manifest.json and
        run_results.json (also of a run that failed). Raises the error of our tree that dbt's
        stands for."""
        from dbt.cli.main import dbtRunner

        models = self._folder / "models"
        for old in models.iterdir():
            old.unlink()
        (models / f"{model.name}.sql").write_text(_model_file(model))
        parsed = dbtRunner().invoke(["parse", *self._options()])
        if not parsed.success:
            raise self._backend.error(str(parsed.exception))
        manifest: Manifest = parsed.result  # type: ignore[assignment]
        runner = dbtRunner(manifest=manifest, callbacks=[_listener(emit)])
        done = runner.invoke(
            ["run", "--select", model.name, "--no-populate-cache", *self._options()]
        )
        self._write_artifacts(manifest, done)
        reports = (self._folder / "artifacts").iterdir()
        emit({"artifacts": {report.name: report.read_text() for report in reports}})
        if not done.success:
            raise self._backend.error(_failure(done))

    def _options(self) -> list[str]:
        folder = str(self._folder)
        return [
            *("--project-dir", folder, "--profiles-dir", folder),
            *("--target-path", f"{folder}/target", "--log-path", f"{folder}/logs"),
            *("--log-level", "none", "--log-level-file", "none", "--quiet", "--no-use-colors"),
            # Written below, once and without dbt's own macros: dbt writes its manifest twice.
            *("--threads", "1", "--no-version-check", "--no-write-json"),
        ]

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
        **model.config,
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
