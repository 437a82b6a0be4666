"""Keeps the secrets of sources under `ASGARD_HOME`, in one 0600 file per source, never in a
record."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.airbyte.secrets import put_at
from app.files import locked, replace_atomically


class SecretStore:
    """The folder of secrets. Calls block for a few milliseconds, so make them in a thread. Several
    gateways may use the folder at once: a file is replaced whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._legacy_file = folder.with_name("sources.json")
        """The one file of all sources, as version 0.1.0 wrote it."""

    def get(self, source_id: str) -> dict[str, Any]:
        self._convert_legacy_file()
        try:
            secrets: dict[str, Any] = json.loads(self._file(source_id).read_bytes())
        except FileNotFoundError:
            return {}
        return secrets

    def put(self, source_id: str, secrets: Mapping[str, Any]) -> None:
        if secrets:
            self._convert_legacy_file()
            self._write(source_id, secrets)

    def delete(self, source_id: str) -> None:
        self._convert_legacy_file()
        self._file(source_id).unlink(missing_ok=True)

    def _file(self, source_id: str) -> Path:
        return self._folder / f"{source_id}.json"

    def _write(self, source_id: str, secrets: Mapping[str, Any]) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.mkdir(exist_ok=True, mode=0o700)
        with locked(self._folder / ".lock"):
            replace_atomically(self._file(source_id), json.dumps(secrets).encode())

    def _convert_legacy_file(self) -> None:
        """Give each source of the legacy file its own one. That file had the secrets of a source by
        their JSON Pointers."""
        if not self._legacy_file.exists():
            return
        with locked(self._legacy_file.with_suffix(".lock")):
            if not self._legacy_file.exists():
                return
            for source_id, values in json.loads(self._legacy_file.read_bytes()).items():
                secrets: dict[str, Any] = {}
                for pointer, value in values.items():
                    put_at(secrets, _steps(pointer), value)
                self._write(source_id, secrets)
            self._legacy_file.unlink()


def _steps(pointer: str) -> tuple[str, ...]:
    steps = pointer.split("/")[1:]
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)
