"""The SQL engine on the session's lakehouse, of each module's own."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Lakehouse
from tests.harnesses.warehouse import WarehouseHarness, warehouse_harness


@pytest.fixture(scope="module")
async def harness(
    lakehouse: Lakehouse, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WarehouseHarness]:
    async with warehouse_harness(lakehouse, tmp_path_factory.mktemp("warehouse")) as harness:
        yield harness
