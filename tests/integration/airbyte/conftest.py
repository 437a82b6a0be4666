"""The stand-in Airbyte, once a session; each test gets it without faults."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.conftest import Lakehouse
from tests.harnesses.ingestion import IngestionHarness, airbyte_ingestion_harness
from tests.integration.servers.airbyte import AirbyteServer, airbyte_server
from tests.integration.servers.airbyte_document import airbyte_document


@pytest.fixture(scope="session", name="shared_airbyte")
def _shared_airbyte() -> Iterator[AirbyteServer]:
    with airbyte_server() as server:
        yield server


@pytest.fixture(scope="module")
async def harness(
    lakehouse: Lakehouse, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[IngestionHarness]:
    """With an Airbyte of its own."""
    async with airbyte_ingestion_harness(lakehouse, tmp_path_factory.mktemp("airbyte")) as harness:
        yield harness


@pytest.fixture
def airbyte(shared_airbyte: AirbyteServer) -> Iterator[AirbyteServer]:
    shared_airbyte.reset()
    yield shared_airbyte
    assert not (wrong := shared_airbyte.traffic.violations()), "\n".join(wrong)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if airbyte_document() is None:
        outcome = (
            "NOT validated against Airbyte's API documents: CONTRIBUTING.md says how to get them"
        )
    else:
        outcome = "validated against Airbyte's API documents"
    terminalreporter.write_line(f"Every request to the stand-in and every answer of it: {outcome}.")
