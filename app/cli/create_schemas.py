"""Implements `asgard schemas`, which the chart runs before the first installation."""

import asyncio

import typer

from app.config import ConfigurationError, Settings, load_settings
from app.lakehouse.external import external_lakehouse
from app.telemetry.logs import configure_logging


def create_schemas() -> int:
    """Return 0, or 1 after printing what is wrong with the settings, the bucket or the catalog."""
    try:
        settings = load_settings()
        if not settings.is_production("lake"):
            raise ConfigurationError(
                "S3_BUCKET is not set: an embedded lake creates its own schemas."
            )
        configure_logging(settings.log_level, settings.secrets())
        namespaces = asyncio.run(_create(settings))
    except ConfigurationError as error:
        typer.echo(f"The schemas cannot be created: {error}", err=True)
        return 1
    typer.echo(f"Existing schemas: {', '.join(namespaces)}.")
    return 0


async def _create(settings: Settings) -> tuple[str, ...]:
    async with external_lakehouse(settings) as lakehouse:
        return tuple(lakehouse.lake.namespaces)
