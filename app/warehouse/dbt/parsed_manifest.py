"""Stores the manifest that dbt parsed, so that workers do not each spend two seconds parsing the
same macros.

`app.warehouse.precompile` writes these files while Asgard is installed, like Python's own bytecode.
If a file is missing or unreadable, the worker parses the project itself.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

FOLDER = Path(__file__).with_name("__pycache__")
PACKAGES = ("dbt-core", "dbt-common", "dbt-adapters")


def parsed_path(adapter: str, project: dict[str, str]) -> Path:
    """Return where the manifest of a project is kept. `project` maps the paths of its files to
    their contents."""
    versions = {name: version(name) for name in (*PACKAGES, f"dbt-{adapter}")}
    source = json.dumps([versions, project], sort_keys=True)
    return FOLDER / f"{adapter}-{hashlib.sha256(source.encode()).hexdigest()[:16]}.msgpack"


def load(path: Path) -> Manifest | None:
    from dbt.contracts.graph.manifest import Manifest

    try:
        return Manifest.from_msgpack(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        sys.stderr.write(f"{path} cannot be read, so dbt parses the project again: {error}\n")
        return None


def save(path: Path, manifest: Manifest) -> None:
    path.parent.mkdir(exist_ok=True)
    for former in path.parent.glob(f"{path.name.partition('-')[0]}-*{path.suffix}"):
        former.unlink(missing_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(manifest.to_msgpack())
    partial.replace(path)
