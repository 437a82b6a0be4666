"""The port of a kind of source of the embedded engine: files, and Airbyte connectors."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from app.airbyte.engine import CheckResult, ConfiguredStream, Connector, Stream
from app.secret_marks import Pointer

Report = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class LocalFile:
    """A finished Parquet file of one stream, on the local disk."""

    bronze_path: str
    path: Path
    part: int
    rows: int
    bytes: int
    broken_rows: int = 0


class Sink(Protocol):
    """The receiver of a read. Its calls come in the source's order."""

    async def file(self, file: LocalFile) -> None: ...
    async def checkpoint(self, states: dict[str, str], paths: frozenset[str]) -> None:
        """Records that the files so far at these paths hold exactly what the states cover."""

    async def progress(self, rows: dict[str, int]) -> None: ...
    def log(self, text: str) -> None: ...
    async def config_changed(self, config: dict[str, Any]) -> None:
        """Stores the config of a connector that has renewed its own credentials."""


@dataclass(frozen=True)
class ReadOrder:
    run_id: str
    source_type: str
    config: dict[str, Any] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """Values that no log may show."""
    streams: tuple[ConfiguredStream, ...]
    states: Mapping[str, str]
    """States in JSON, by stream key or for all streams. Only the source's worker reads them."""


class LocalSource(Protocol):
    """A kind of source, of one type or of several. `type_` is a source's type, and `config` holds
    its secrets."""

    def connectors(self) -> list[Connector]:
        """Returns the types. Blocks: call it in a thread."""

    def is_installed(self, type_: str) -> bool:
        """Raises `NotSupported` for an unknown type."""

    async def install(self, type_: str, report: Report) -> Mapping[str, Any]: ...
    def secret_pointers(self, type_: str, config: dict[str, Any]) -> set[Pointer]: ...
    async def validate(self, type_: str, config: dict[str, Any]) -> None: ...
    async def check(
        self, type_: str, config: dict[str, Any], secrets: tuple[str, ...]
    ) -> CheckResult: ...
    async def discover(
        self, type_: str, config: dict[str, Any], secrets: tuple[str, ...]
    ) -> tuple[Stream, ...]: ...
    async def known_streams(
        self, type_: str, config: dict[str, Any], secrets: tuple[str, ...]
    ) -> tuple[Stream, ...]:
        """Returns the streams as they are known, which is faster than discovering them. Columns may
        be missing."""

    async def read(self, order: ReadOrder, sink: Sink) -> dict[str, str]:
        """Reads to the end, and returns the states after it, by stream key."""
