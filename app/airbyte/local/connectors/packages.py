"""The connectors that the embedded engine may install: the shipped ones, and the operator's.

A shipped connector is a file of pinned and hashed requirements, `shipped/{name}.txt`, and the spec
of exactly that version, `shipped/{name}.spec.json`, so that a config can be checked before anything
is installed. No list names them.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from app.config import ConfigurationError

SHIPPED = Path(__file__).parent / "shipped"
REQUIREMENT = re.compile(r"^airbyte-source-([a-z0-9]+(?:-[a-z0-9]+)*)==([A-Za-z0-9._!+-]+)$")


@dataclass(frozen=True)
class ConnectorPackage:
    """A connector. `requirements` is the text of a requirements file."""

    name: str
    version: str
    requirements: str
    hashed: bool
    shipped_spec: Path | None = None

    @property
    def directory(self) -> str:
        digest = hashlib.sha256(self.requirements.encode()).hexdigest()[:12]
        return f"{self.name}-{self.version}-{digest}"

    @property
    def program(self) -> str:
        return f"source-{self.name}"

    @cached_property
    def spec(self) -> dict[str, Any] | None:
        if self.shipped_spec is None:
            return None
        spec: dict[str, Any] = json.loads(self.shipped_spec.read_bytes())
        return spec


def allowed_packages(extra: Iterable[str]) -> dict[str, ConnectorPackage]:
    """Returns the packages by name. `extra` is CONNECTORS_ALLOWED, which may name another version
    of a shipped one.

    Raises:
        ConfigurationError: An entry is not a pinned requirement.
    """
    packages = {path.stem: _shipped(path) for path in sorted(SHIPPED.glob("*.txt"))}
    for entry in extra:
        match = REQUIREMENT.match(entry)
        if match is None:
            raise ConfigurationError(
                f"CONNECTORS_ALLOWED has {entry!r}: expected a pinned connector, for example "
                "airbyte-source-github==1.8.0."
            )
        name, version = match.groups()
        if name not in packages or packages[name].version != version:
            packages[name] = ConnectorPackage(name, version, f"{entry}\n", hashed=False)
    return packages


def _shipped(path: Path) -> ConnectorPackage:
    text = path.read_text()
    pinned = re.search(rf"^airbyte-source-{path.stem}==([^ \\\n]+)", text, re.MULTILINE)
    if pinned is None:
        raise ConfigurationError(f"{path} does not pin airbyte-source-{path.stem}.")
    spec = path.with_suffix(".spec.json")
    return ConnectorPackage(path.stem, pinned[1], text, hashed=True, shipped_spec=spec)
