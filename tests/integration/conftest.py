"""What all groups of the integration stage share: each group runs servers of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.servers.seaweedfs import SeaweedFs, start_seaweedfs


@pytest.fixture(scope="session")
def servers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def seaweedfs(servers_folder: Path) -> Iterator[SeaweedFs]:
    server = start_seaweedfs(servers_folder / "seaweedfs")
    yield server
    server.stop()
