"""What the sections of the settings have in common."""

from pydantic_settings import BaseSettings, SettingsConfigDict


class Section(BaseSettings):
    """The docstring of a field is its description, in `docs/configuration.md` too."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )
