"""Where the generated project is built by hand: the profile, macros and README of each engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from app.lakehouse.connection import Lake
from app.warehouse.dbt import project_files as files
from app.warehouse.trino.connection import TrinoConnection

MACROS = Path(__file__).with_name("macros")


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


@dataclass(frozen=True)
class DuckDbTarget:
    lake: Lake
    dialect: ClassVar[Literal["duckdb", "trino"]] = "duckdb"
    macros: ClassVar[str] = (MACROS / "lake.sql").read_text()
    readme: ClassVar[str] = files.README
    settings: ClassVar[Mapping[str, Any]] = {}
    views_database: ClassVar[str | None] = files.VIEWS_DATABASE

    def secrets(self) -> dict[str, str]:
        return files.secret_values(self.lake)

    def kept_profile(self, folder: Path, /) -> dict[str, Any]:
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


@dataclass(frozen=True)
class TrinoTarget:
    trino: TrinoConnection
    dialect: ClassVar[Literal["duckdb", "trino"]] = "trino"
    macros: ClassVar[str] = (MACROS / "lake_trino.sql").read_text()
    readme: ClassVar[str] = files.README_TRINO
    # dbt-trino would move the old table away first.
    settings: ClassVar[Mapping[str, Any]] = {
        "+on_table_exists": "replace",
        "+view_security": "invoker",
    }
    views_database: ClassVar[str | None] = None

    def secrets(self) -> dict[str, str]:
        trino = self.trino
        values = {"TRINO_HOST": trino.host, "TRINO_PORT": str(trino.port), "TRINO_USER": trino.user}
        if trino.password:
            values["TRINO_PASSWORD"] = trino.password
        if trino.jwt_token:
            values["TRINO_JWT_TOKEN"] = trino.jwt_token
        return values

    def kept_profile(self, _: Path, /) -> dict[str, Any]:
        return self._profile({**self.secrets(), "TRINO_PORT": self.trino.port})

    def profile(self, values: Mapping[str, str]) -> dict[str, Any]:
        return self._profile({**values, "TRINO_PORT": _PORT})

    def _profile(self, values: Mapping[str, Any]) -> dict[str, Any]:
        trino = self.trino
        output: dict[str, Any] = {
            "type": "trino",
            "method": "jwt" if trino.jwt_token else "ldap" if trino.password else "none",
            "host": values["TRINO_HOST"],
            "port": values["TRINO_PORT"],
            "user": values["TRINO_USER"],
            "database": trino.catalog,
            "schema": trino.schema,
            "timezone": "UTC",
            "threads": 1,
        }
        if trino.jwt_token:
            output["jwt_token"] = values["TRINO_JWT_TOKEN"]
        elif trino.password:
            output["password"] = values["TRINO_PASSWORD"]
        else:
            output["http_scheme"] = trino.scheme
        if trino.scheme == "https":
            output["cert"] = trino.verify
        return {"target": "lake", "outputs": {"lake": output}}


_PORT = files.Template("{{ env_var('TRINO_PORT') | as_number }}")
