"""Airbyte's own syncs are recorded for each connection, whatever happens to another one's."""

from typing import Any

import pytest

from app.airbyte.remote.mapping import JobStatus
from app.airbyte.remote.schedule_follower import Follower
from app.errors import EngineFailed
from app.lakehouse.bronze.manifests import Manifest

CONNECTIONS = [f"connection {number}" for number in range(6)]
DAMAGED = CONNECTIONS[3]


class Airbyte:
    """Answers as the client and the jobs of Airbyte. One connection's sync cannot be recorded."""

    def __init__(self, fault: Exception) -> None:
        self.fault = fault
        self.recorded: set[str] = set()

    async def page(self, path: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        del path, params
        return [{"connectionId": id_, "jobId": 1} for id_ in CONNECTIONS]

    async def all(self) -> list[Manifest]:
        return [Manifest(ingestion_id=id_, source="s") for id_ in CONNECTIONS]

    async def newest(self, connection_id: str) -> list[Any]:
        del connection_id
        return [type("Job", (), {"status": JobStatus.SUCCEEDED})]

    async def record_latest(self, ingestion: str, jobs: list[Any]) -> None:
        del jobs
        if ingestion == DAMAGED:
            raise self.fault
        self.recorded.add(ingestion)


async def ingestion(connection_id: str) -> Any:
    return connection_id


@pytest.mark.parametrize("fault", [EngineFailed("The file is damaged."), UnicodeError("no text")])
async def test_one_connection_does_not_keep_others_waiting(fault: Exception) -> None:
    airbyte: Any = Airbyte(fault)
    await Follower(airbyte, airbyte, airbyte, ingestion).poll()
    assert airbyte.recorded == set(CONNECTIONS) - {DAMAGED}
