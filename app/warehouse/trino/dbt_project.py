"""Defines the generated dbt project on Trino: its profile, macros and README."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from app.warehouse.dbt import project_files as files
from app.warehouse.trino.connection import TrinoConnection


@dataclass(frozen=True)
class TrinoTarget:
    trino: TrinoConnection
    dialect: ClassVar[str] = "trino"
    macros: ClassVar[str] = Path(__file__).with_name("lake.sql").read_text()
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

    def disk_profile(self, _: Path, /) -> dict[str, Any]:
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
