"""Every environment variable, once. Only this package reads them."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from app.config.airbyte import Airbyte
from app.config.authentication import Authentication, AuthMode
from app.config.core import Core, Environment
from app.config.embedding import Embedding
from app.config.limits import RunLimits
from app.config.section import Section, Technology
from app.config.spark import Spark
from app.config.storage import Storage
from app.config.traces import Traces
from app.config.trino import Trino

RUNNING_IN_PRODUCTION, RUNNING_EMBEDDED = 50, 2


class Settings(
    Traces,
    RunLimits,
    Storage,
    Trino,
    Spark,
    Airbyte,
    Embedding,
    Authentication,
    Core,
):
    """Read from the environment and `.env`. An empty value means unset. Times are in seconds. The
    last of these base classes comes first in the documents."""

    model_config = SettingsConfigDict(title="Settings")

    def is_production(self, part: str) -> bool:
        """Return whether a part of `PARTS` is not embedded. Use after `check_choice`."""
        return self.technology_of(part) is not None

    def technology_of(self, part: str) -> Technology | None:
        """Return the technology of a part of `PARTS`, or None for its embedded one. Use after
        `check_choice`."""
        return next(iter(self.selected(part)), None)

    def workers_connect(self, part: str) -> bool:
        """Return whether workers of the gateway connect to the lake or to an engine for a part of
        `PARTS`. Use after `check_choice`."""
        technology = self.technology_of(part)
        return technology is None or technology.workers_connect

    def selected(self, part: str) -> list[Technology]:
        """Return each technology of a part that a setting selects. More than one is a fault."""
        return [
            technology
            for technology in TECHNOLOGIES
            if technology.part == part
            and any(getattr(self, name) for name in technology.selected_by)
        ]

    def max_running(self, part: str) -> int:
        """Return the run limit of a part of `PARTS`. Use after `check_choice`."""
        if self.max_running_per_engine is not None:
            return self.max_running_per_engine
        if part == "sql":
            return self.dbt_workers
        return RUNNING_IN_PRODUCTION if self.is_production(part) else RUNNING_EMBEDDED

    @property
    def authentication(self) -> AuthMode:
        return self.auth_mode or AuthMode.NONE

    @property
    def shows_docs(self) -> bool:
        if self.docs_public is not None:
            return self.docs_public
        return self.environment is Environment.DEVELOPMENT

    @property
    def requests_per_minute(self) -> int:
        if self.rate_limit is not None:
            return self.rate_limit
        return 0 if self.authentication is AuthMode.NONE else 1200

    @property
    def keys_file(self) -> Path:
        return (self.auth_keys_file or self.home / "keys.json").expanduser().absolute()

    def secrets(self) -> Iterator[str]:
        """Yield what no log or table may show: each secret, and each part that is itself secret."""
        for _, value in self:
            if isinstance(value, SecretStr):
                yield value.get_secret_value()
        if self.iceberg_rest_credential:
            yield self.iceberg_rest_credential.get_secret_value().partition(":")[2]
        if self.otel_exporter_otlp_headers:
            for header in self.otel_exporter_otlp_headers.get_secret_value().split(","):
                yield header.partition("=")[2].strip()
        if password := urlsplit(self.airbyte_base_url or "").password:
            yield from (password, unquote(password))

    @property
    def home(self) -> Path:
        return self.asgard_home.expanduser().absolute()

    @property
    def source_prefixes(self) -> tuple[str, ...]:
        """Return the key prefixes of the bucket that SQL may read."""
        return ("bronze/", *self.s3_allowed_prefixes)

    @property
    def project_dir(self) -> Path:
        shared = Path("/tmp/dbt_projects")  # noqa: S108
        default = shared if self.is_production("sql") else self.home / "dbt"
        return (self.dbt_project_dir or default).expanduser().absolute()

    @property
    def profiles_dir(self) -> Path:
        return (self.dbt_profiles_dir or self.project_dir).expanduser().absolute()


SECTIONS: tuple[type[Section], ...] = tuple(
    base for base in reversed(Settings.__bases__) if issubclass(base, Section)
)
"""The sections in the order of the documents."""

TECHNOLOGIES: tuple[Technology, ...] = tuple(
    section.technology for section in SECTIONS if section.technology
)

PARTS: dict[str, tuple[str, ...]] = {
    part: tuple(
        name
        for technology in TECHNOLOGIES
        if technology.part == part
        for name in technology.selected_by
    )
    for part in dict.fromkeys(technology.part for technology in TECHNOLOGIES)
}
"""The parts that are either production or embedded, each with the settings that select
production."""
