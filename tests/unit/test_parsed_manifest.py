"""A worker that loads what dbt parsed earlier builds as one that has dbt parse."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.warehouse.dbt import parsed_manifest
from app.warehouse.dbt.invocation import Model, Workspace
from app.warehouse.duckdb.dbt_backend import BACKEND

CHANGES_WITH_EACH_RUN = {"metadata", "created_at"}


def built(folder: Path) -> Any:
    folder.mkdir()
    events: list[dict[str, Any]] = []
    Workspace(folder, BACKEND).run(
        Model("numbers", "select 7 as n", "table", "Seven", ["t"], {}), events.append
    )
    [artifacts] = [event["artifacts"] for event in events if "artifacts" in event]
    return without(json.loads(artifacts["manifest.json"]), CHANGES_WITH_EACH_RUN)


def without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {k: without(v, names) for k, v in value.items() if k not in names}
    return [without(v, names) for v in value] if isinstance(value, list) else value


def test_a_kept_manifest_builds_as_a_parsed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    monkeypatch.setattr(parsed_manifest, "FOLDER", kept)
    parsed = built(tmp_path / "parses")
    assert not kept.exists()

    (tmp_path / "writes").mkdir()
    Workspace(tmp_path / "writes", BACKEND).precompile()
    [file] = kept.iterdir()
    assert parsed_manifest.load(file) is not None
    assert built(tmp_path / "loads") == parsed
    assert "model.asgard_worker.numbers" in parsed["nodes"]
    assert str(tmp_path) not in json.dumps(parsed)


def test_each_text_and_adapter_has_its_own_manifest() -> None:
    project = {"macros/a.sql": "a"}
    paths = {
        parsed_manifest.parsed_path("duckdb", project),
        parsed_manifest.parsed_path("duckdb", {"macros/a.sql": "b"}),
        parsed_manifest.parsed_path("trino", project),
    }
    assert len(paths) == 3


def test_other_macros_are_not_taken_from_a_kept_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    monkeypatch.setattr(parsed_manifest, "FOLDER", kept)
    macros = tmp_path / "worker.sql"
    for number, text in enumerate((BACKEND.macros.read_text(), BACKEND.macros.read_text() + "\n")):
        macros.write_text(text)
        (folder := tmp_path / str(number)).mkdir()
        Workspace(folder, replace(BACKEND, macros=macros)).precompile()
    assert len(list(kept.iterdir())) == 2
