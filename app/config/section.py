"""The base of all sections of the settings."""

from pydantic_settings import BaseSettings, SettingsConfigDict


class Section(BaseSettings):
    """The docstring of a field is its description, also in `docs/configuration.md`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )
