"""The stand-in Airbyte, once a session; each test gets it without faults."""

from collections.abc import Iterator

import pytest
from integration.servers.airbyte import AirbyteServer, airbyte_server


@pytest.fixture(scope="session", name="shared_airbyte")
def _shared_airbyte() -> Iterator[AirbyteServer]:
    with airbyte_server() as server:
        yield server


@pytest.fixture
def airbyte(shared_airbyte: AirbyteServer) -> AirbyteServer:
    shared_airbyte.reset()
    return shared_airbyte
