"""Where the generated project is built by hand: the profile, macros and README of each engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol


class ProjectTarget(Protocol):
    dialect: ClassVar[Literal["duckdb", "trino"]]
    macros: ClassVar[str]
    readme: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]]
    """What holds for all models."""
    views_database: ClassVar[str | None]
    """Where views are made by hand, when that is not the lake."""

    def secrets(self) -> dict[str, str]:
        """By the environment variables that stand in for them in the archive."""

    def kept_profile(self, folder: Path, /) -> dict[str, Any]:
        """Of the project on disk, with the secrets."""

    def profile(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Of the archive: `values` are by the names of `secrets`."""
