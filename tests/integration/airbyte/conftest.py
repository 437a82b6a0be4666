"""The stand-in Airbyte, once a session; each test gets it without faults."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.servers.airbyte import AirbyteServer, airbyte_server

# The suites here share the helpers of tests/embedded, by plain names.
sys.path.insert(0, str(Path(__file__).parents[2] / "embedded"))


@pytest.fixture(scope="session", name="shared_airbyte")
def _shared_airbyte() -> Iterator[AirbyteServer]:
    with airbyte_server() as server:
        yield server


@pytest.fixture
def airbyte(shared_airbyte: AirbyteServer) -> AirbyteServer:
    shared_airbyte.reset()
    return shared_airbyte
