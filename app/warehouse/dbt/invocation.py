"""Runs dbt in a worker's own project: one model at a time, on the worker's backend.

The project that users download is elsewhere (`project`). Here dbt compiles, runs and reports one
model, and `publish` then publishes the result.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from app.errors import AsgardError
from app.processes.worker_main import Emit
from app.sql.quoting import quoted
from app.warehouse.dbt.parsed_manifest import load, parsed_path, save

if TYPE_CHECKING:
    from dbt.artifacts.schemas.run import RunExecutionResult
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import ModelNode

PACKAGE = "asgard_worker"
REPORTS = ("manifest.json", "run_results.json")

SQL = "asgard_sql"
MODEL_FILE = f"{{{{ config.get('{SQL}') }}}}"
"""The text of every model file. Jinja prints the SQL as a value. dbt does not render values of
`config` again, unlike the strings that `var()` returns."""

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
    """Describes where a worker's models are built. `output` is that of dbt's profile."""

    macros: Path
    output: dict[str, Any]
    """Constants only, never values of the settings: dbt reads these strings as templates."""
    database: str
    schema: str
    """The schema where models are built, unless their config names another one."""
    error: Callable[[str], AsgardError]
    """Converts a message of dbt to an error of our tree."""
    project: dict[str, Any] = field(default_factory=dict)
    """Further contents of `dbt_project.yml`: constants only, as in `output`."""


@dataclass(frozen=True)
class Model:
    name: str
    sql: str
    """In the backend's dialect."""
    materialized: str
    description: str
    tags: list[str]
    meta: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    """Further config that the backend's materializations need."""

    @property
    def relation(self) -> str:
        """Return the name of the model's relation in a worker's DuckDB."""
        return f"memory.main.{quoted(self.name)}"


def _lock_in_this_process() -> None:
    """Give dbt locks that exist only in this process. The locks of `multiprocessing` need /dev/shm,
    which a sandbox without namespaces does not have."""
    context: Any = BaseContext
    context.Lock = lambda _: threading.Lock()
    context.RLock = lambda _: threading.RLock()


def _project(backend: Backend) -> dict[str, str]:
    """Return the texts of the project's files by path."""
    profile = {PACKAGE: {"target": "worker", "outputs": {"worker": backend.output}}}
    return {
        "dbt_project.yml": yaml.safe_dump({**PROJECT, **backend.project}),
        "profiles.yml": yaml.safe_dump(profile),
        "models/model.sql": MODEL_FILE,
        f"macros/{backend.macros.name}": backend.macros.read_text(),
    }


class Workspace:
    def __init__(self, folder: Path, backend: Backend) -> None:
        """The first `run` takes seconds, because it imports dbt."""
        _lock_in_this_process()
        os.environ |= {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DO_NOT_TRACK": "1"}
        self._folder = folder
        self._backend = backend
        project = _project(backend)
        for name, text in project.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        self._parsed_path = parsed_path(backend.output["type"], project)

    def run(self, model: Model, emit: Emit) -> None:
        """Build the model. Emits lines of the log, and the texts of manifest.json and
        run_results.json, even if the run failed. Raises the error of our tree that matches
        dbt's."""
        from dbt.cli.main import dbtRunner

        manifest: Any = self._manifest
        node = self._node(model)
        manifest.nodes = {node.unique_id: node}
        manifest.build_flat_graph()
        runner = dbtRunner(manifest=manifest, callbacks=[_listener(emit)])
        result = runner.invoke(["run", "--no-populate-cache", *self._options()])
        self._write_reports(model, result)
        emit({"artifacts": {name: (self._folder / name).read_text() for name in REPORTS}})
        if not result.success:
            raise self._backend.error(_failure(result))

    def precompile(self) -> None:
        """Parse the project and store the manifest for later workers."""
        save(self._parsed_path, self._parse())

    @cached_property
    def _manifest(self) -> Manifest:
        """Load the stored manifest, or parse the project. This happens once, because neither the
        model's file nor a macro changes afterwards."""
        from app.warehouse.dbt.closed_context import close_context

        close_context()
        return load(self._parsed_path) or self._parse()

    def _parse(self) -> Manifest:
        from dbt.cli.main import dbtRunner

        from app.warehouse.dbt.closed_context import close_context

        close_context()
        parsed = dbtRunner().invoke(["parse", "--no-partial-parse", *self._options()])
        if not parsed.success:
            raise self._backend.error(str(parsed.exception))
        return parsed.result  # type: ignore[return-value]

    @cached_property
    def _parsed_node(self) -> dict[str, Any]:
        [node] = self._manifest.nodes.values()
        return node.to_dict(omit_none=True)

    def _node(self, model: Model) -> ModelNode:
        """Return the parsed node with the model's own values, so that no parser reads them."""
        from dbt.artifacts.resources.base import FileHash
        from dbt.contracts.graph.nodes import ModelNode

        parsed = self._parsed_node
        own: dict[str, Any] = {
            **model.config,
            "materialized": model.materialized,
            "tags": model.tags,
            "meta": model.meta,
        }
        database = self._backend.database
        schema = own.get("schema", self._backend.schema)
        alias = own.get("alias", model.name)
        return ModelNode.from_dict(
            {
                **parsed,
                "name": model.name,
                "unique_id": f"model.{PACKAGE}.{model.name}",
                "fqn": [PACKAGE, model.name],
                "description": model.description,
                "tags": model.tags,
                "meta": model.meta,
                "config": {**parsed["config"], **own, SQL: model.sql},
                "unrendered_config": own,
                "database": database,
                "schema": schema,
                "alias": alias,
                "relation_name": ".".join(quoted(part) for part in (database, schema, alias)),
                "checksum": FileHash.from_contents(model.sql).to_dict(),
                "created_at": time.time(),
            }
        )

    def _options(self) -> list[str]:
        folder = str(self._folder)
        return [
            *("--project-dir", folder, "--profiles-dir", folder),
            *("--target-path", f"{folder}/target", "--log-path", f"{folder}/logs"),
            *("--log-level", "none", "--log-level-file", "none", "--quiet", "--no-use-colors"),
            # Written below, once and without dbt's own macros: dbt writes its manifest twice.
            *("--threads", "1", "--no-version-check", "--no-write-json"),
        ]

    def _write_reports(self, model: Model, result: dbtRunnerResult) -> None:
        folder = self._folder
        self._readable(model).write(str(folder / "manifest.json"))
        results: RunExecutionResult | None = result.result  # type: ignore[assignment]
        path = folder / "run_results.json"
        if results is None:
            path.write_text(json.dumps({"results": [], "error": str(result.exception)}))
        else:
            # These leave out the paths of this machine.
            results.args = {
                "which": "run",
                "select": [model.name],
                "vars": {},
                "invocation_command": f"dbt run --select {model.name}",
            }
            results.write(str(path))
        shutil.rmtree(self._folder / "target" / "run", ignore_errors=True)
        shutil.rmtree(self._folder / "target" / "compiled", ignore_errors=True)

    def _readable(self, model: Model) -> Any:
        """Return the run's manifest without dbt's macros, with the SQL as the model's text."""
        from dbt.artifacts.schemas.manifest import ManifestMetadata

        manifest: Any = copy.copy(self._manifest)
        manifest.macros = {k: v for k, v in manifest.macros.items() if v.package_name == PACKAGE}
        now = ManifestMetadata()
        manifest.metadata = replace(
            manifest.metadata,
            generated_at=now.generated_at,
            invocation_id=now.invocation_id,
            invocation_started_at=now.invocation_started_at,
            env={},
        )
        [node] = manifest.nodes.values()
        node.raw_code = model.sql
        node.build_path = node.compiled_path = None  # paths of this machine
        del node.config[SQL]
        return manifest


def _listener(emit: Emit) -> Callable[[Any], None]:
    def listen(event: Any) -> None:
        if str(event.info.level) in {"info", "warn", "error"} and event.info.msg.strip():
            emit({"log": event.info.msg})

    return listen


def _failure(result: dbtRunnerResult) -> str:
    nodes = getattr(result.result, "results", None) or ()
    messages = [str(node.message) for node in nodes if node.message]
    return messages[0] if messages else str(result.exception or "dbt failed without a message")
