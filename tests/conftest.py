"""One embedded lakehouse for the whole session: starting it takes a second or two."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.embedded import embedded_lakehouse
from app.lakehouse.storage import ObjectStore


@dataclass(frozen=True)
class Lakehouse:
    """Everything a test needs of the lake; tests keep apart by the names they use in it."""

    settings: Settings
    home: Path
    lake: Lake
    store: ObjectStore
    catalog: Catalog


@pytest.fixture(scope="session")
async def lakehouse(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lakehouse]:
    home = tmp_path_factory.mktemp("asgard")
    settings = Settings(_env_file=None, asgard_home=home)
    async with embedded_lakehouse(settings) as embedded:
        yield Lakehouse(settings, home, embedded.lake, embedded.store, embedded.catalog)


@pytest.fixture(scope="session")
async def client(lakehouse: Lakehouse) -> AsyncIterator[httpx.AsyncClient]:
    """The whole application through its real lifespan, on the session's lakehouse."""
    from app.main import create_app

    settings = lakehouse.settings.model_copy(update={"trusted_hosts": ("asgard", "127.0.0.1")})
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://asgard/api/v1", timeout=120
        ) as client,
    ):
        yield client
