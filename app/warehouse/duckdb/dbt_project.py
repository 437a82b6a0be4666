"""Defines the generated dbt project on DuckDB: its profile, macros and README."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from app.lakehouse.connection import Lake
from app.warehouse.dbt import project_files as files


@dataclass(frozen=True)
class DuckDbTarget:
    lake: Lake
    dialect: ClassVar[str] = "duckdb"
    macros: ClassVar[str] = Path(__file__).with_name("lake.sql").read_text()
    readme: ClassVar[str] = files.README
    settings: ClassVar[Mapping[str, Any]] = {}
    views_database: ClassVar[str | None] = files.VIEWS_DATABASE

    def secrets(self) -> dict[str, str]:
        return files.secret_values(self.lake)

    def disk_profile(self, folder: Path, /) -> dict[str, Any]:
        from app.warehouse.duckdb.session import EXTENSIONS, extension_file

        return files.profile(
            self.lake,
            self.secrets(),
            str(folder / "asgard.duckdb"),
            [str(extension_file(name)) for name in EXTENSIONS],
            {"config_options": {"extension_directory": str(folder / ".duckdb")}},
        )

    def profile(self, values: Mapping[str, str]) -> dict[str, Any]:
        from app.warehouse.duckdb.session import EXTENSIONS

        return files.profile(self.lake, values, "asgard.duckdb", list(EXTENSIONS))
