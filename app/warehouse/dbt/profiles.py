"""Defines what each engine adds to the generated project: profile, macros and README."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol


class ProjectTarget(Protocol):
    dialect: ClassVar[str]
    """A name of `app.sql.dialects.DIALECTS`."""
    macros: ClassVar[str]
    readme: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]]
    """Configuration of all models."""
    views_database: ClassVar[str | None]
    """The database for views that are built by hand, if it is not the lake."""

    def secrets(self) -> dict[str, str]:
        """Return the secrets by the environment variables that replace them in the archive."""

    def disk_profile(self, folder: Path, /) -> dict[str, Any]:
        """Return the profile of the project on disk, with the secrets."""

    def profile(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return the profile of the archive. `values` are by the names of `secrets`."""
