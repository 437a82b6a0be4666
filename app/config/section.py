"""The base of all sections of the settings."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic_settings import BaseSettings, SettingsConfigDict

Part = Literal["ingestion", "spark", "sql", "lake"]


@dataclass(frozen=True)
class Technology:
    """A production engine of a part. Setting one of `selected_by` selects it."""

    part: Part
    name: str
    selected_by: tuple[str, ...]
    workers_connect: bool = True
    """Whether workers of the gateway connect to the lake or to an engine. If so, the sandbox must
    limit their network."""


class Section(BaseSettings):
    """The docstring of a field is its description, also in `docs/configuration.md`."""

    technology: ClassVar[Technology | None] = None
    """The engine whose settings the section has, if they select one."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )
