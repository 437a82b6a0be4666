"""One file to read, as the gateway gives it to the worker, and what the worker returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class FileJob:
    path: Path
    name: str
    """The client's name for the file, used in messages and for its suffixes."""
    directory: Path
    """The directory for its Parquet files and for unpacked data."""
    stream: str | None = None
    """The stream to read."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The `options` of the `SourceFile`."""
    sync_id: str = ""
    threads: int = 2


@dataclass(frozen=True)
class FileResult:
    files: list[dict[str, Any]]
    rows: int
    broken_rows: int
