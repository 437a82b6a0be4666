"""A worker that loads what dbt parsed earlier builds as one that has dbt parse."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.warehouse.dbt.parsed_manifest import parsed_path

pytestmark = pytest.mark.thorough

CHANGES_WITH_EACH_RUN = {"metadata", "created_at"}

BUILD_TWICE = """
import json, sys
from pathlib import Path
from app.warehouse.dbt import parsed_manifest
from app.warehouse.dbt.invocation import Model, Workspace
from app.warehouse.duckdb.dbt_backend import BACKEND

folder = Path(sys.argv[1])
parsed_manifest.FOLDER = folder / "kept"

def workspace(name):
    (folder / name).mkdir()
    return Workspace(folder / name, BACKEND)

def built(name):
    events = []
    model = Model("numbers", "select 7 as n", "table", "Seven", ["t"], {})
    workspace(name).run(model, events.append)
    [artifacts] = [event["artifacts"] for event in events if "artifacts" in event]
    return json.loads(artifacts["manifest.json"])

parsed = built("parses")
assert not parsed_manifest.FOLDER.exists()
workspace("writes").precompile()
[file] = parsed_manifest.FOLDER.iterdir()
kept = parsed_manifest.load(file)
kept.macros["macro.asgard_worker.only_kept"] = next(iter(kept.macros.values()))
parsed_manifest.save(file, kept)
reports = [parsed, built("loads")]
file.write_bytes(file.read_bytes()[:1000])
reports.append(built("finds a damaged one"))
(folder / "reports.json").write_text(json.dumps(reports))
"""
"""Runs in its own process, since dbt keeps its connections for the whole one. A macro that only the
kept manifest has shows which one the second build used."""


def lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if k not in CHANGES_WITH_EACH_RUN}
    return [lasting(v) for v in value] if isinstance(value, list) else value


def test_a_kept_manifest_builds_as_a_parsed_one(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", BUILD_TWICE, str(tmp_path)], check=True)
    reports = (tmp_path / "reports.json").read_text()
    assert str(tmp_path) not in reports
    parsed, loaded, parsed_again = map(lasting, json.loads(reports))
    assert parsed_again == parsed
    assert list(parsed["nodes"]) == ["model.asgard_worker.numbers"]
    assert loaded["macros"].keys() - parsed["macros"].keys() == {"macro.asgard_worker.only_kept"}
    assert loaded | {"macros": {}} == parsed | {"macros": {}}


@pytest.mark.parametrize(
    ("adapter", "project"),
    [("trino", {"macros/a.sql": "a"}), ("duckdb", {"macros/a.sql": "b"}), ("duckdb", {})],
)
def test_other_sources_have_another_manifest(adapter: str, project: dict[str, str]) -> None:
    assert parsed_path(adapter, project) != parsed_path("duckdb", {"macros/a.sql": "a"})
