"""One embedded lakehouse for the whole session: starting it takes a second or two."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from app.config import Settings
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.embedded.lakehouse import EmbeddedLakehouse, embedded_lakehouse
from app.lakehouse.external import ExternalLakehouse
from app.lakehouse.storage import ObjectStore

# Most test gateways need at most one kind of worker. tests/faults and the demo set their own
# environment and start every kind.
os.environ.setdefault("WARM_WORKERS", "false")

# How fast a busy machine makes examples says nothing about the code.
hypothesis_settings.register_profile(
    "asgard", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.register_profile(
    "fast", hypothesis_settings.get_profile("asgard"), max_examples=10
)
hypothesis_settings.load_profile("asgard")


@dataclass(frozen=True)
class Lakehouse:
    """Everything a test needs of the lake; tests keep apart by the names they use in it."""

    settings: Settings
    home: Path
    lake: Lake
    store: ObjectStore
    catalog: Catalog
    records: Catalog
    """On Nessie, records have a branch of their own."""
    builder_lake: Lake
    publisher_lake: Lake
    sail_lake: Lake
    silver_publisher_lake: Lake

    @classmethod
    def of(cls, settings: Settings, opened: EmbeddedLakehouse | ExternalLakehouse) -> "Lakehouse":
        return cls(
            settings,
            settings.home,
            opened.lake,
            opened.store,
            opened.catalog,
            opened.records,
            opened.builder_lake,
            opened.publisher_lake,
            opened.sail_lake,
            opened.silver_publisher_lake,
        )


@pytest.fixture(scope="session")
async def lakehouse(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lakehouse]:
    home = tmp_path_factory.mktemp("asgard")
    settings = Settings(_env_file=None, asgard_home=home)
    async with embedded_lakehouse(settings) as embedded:
        yield Lakehouse.of(settings, embedded)


@pytest.fixture(scope="module")
async def own_lakehouse(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lakehouse]:
    """A lakehouse of the module's own: no gateway of another module takes its runs over."""
    settings = Settings(_env_file=None, asgard_home=tmp_path_factory.mktemp("own"))
    async with embedded_lakehouse(settings) as embedded:
        yield Lakehouse.of(settings, embedded)


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
