"""Ingestion on the embedded adapter and on the one for Airbyte, of each module's own."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Lakehouse
from tests.harnesses.ingestion import (
    TOY,
    IngestionHarness,
    airbyte_ingestion_harness,
    install_toy,
    local_ingestion_harness,
)


@pytest.fixture(scope="module")
async def local_harness(
    lakehouse: Lakehouse, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[IngestionHarness]:
    data = tmp_path_factory.mktemp("ingestion") / "data"
    data.mkdir()
    update = {
        "ingestion_allowed_dirs": (data,),
        "connectors_allowed": (TOY,),
        "max_running_per_engine": 4,
    }
    settings = lakehouse.settings.model_copy(update=update)
    install_toy(settings.home)
    async with local_ingestion_harness(lakehouse, settings, data) as harness:
        yield harness


@pytest.fixture(scope="module")
async def airbyte_harness(
    lakehouse: Lakehouse, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[IngestionHarness]:
    async with airbyte_ingestion_harness(lakehouse, tmp_path_factory.mktemp("airbyte")) as harness:
        yield harness


@pytest.fixture(scope="module", params=["local", "airbyte"])
def harness(request: pytest.FixtureRequest) -> IngestionHarness:
    """For tests that both adapters have to pass."""
    chosen: IngestionHarness = request.getfixturevalue(f"{request.param}_harness")
    return chosen
