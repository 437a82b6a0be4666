"""Jobs as a client of the gateway sees them, and the tables that they write."""

import asyncio
from typing import Any

import httpx

from tests.conftest import Lakehouse

END_SECONDS = 150


async def submit(client: httpx.AsyncClient, sql: str, **body: Any) -> str:
    answer = await client.post("/spark/transform", json={"sql": sql, **body})
    assert answer.status_code == 200, answer.text
    run_id: str = answer.json()["run_id"]
    return run_id


async def get(client: httpx.AsyncClient, run_id: str, resource: str) -> dict[str, Any]:
    answer = await client.get(f"/spark/transform/{run_id}/{resource}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def until(client: httpx.AsyncClient, run_id: str, *expected: str) -> dict[str, Any]:
    async with asyncio.timeout(END_SECONDS):
        while True:
            status = await get(client, run_id, "status")
            if status["state"] in expected:
                return status
            await asyncio.sleep(0.1)


async def ended(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    return await until(client, run_id, "COMPLETED", "FAILED", "SUBMISSION_FAILED")


async def rows(lakehouse: Lakehouse, table: str) -> list[dict[str, Any]]:
    def scan(catalog: Any) -> list[dict[str, Any]]:
        read: list[dict[str, Any]] = catalog.load_table(table).scan().to_arrow().to_pylist()
        return read

    result = await lakehouse.catalog.run(scan)
    return sorted(result, key=lambda row: [str(value) for value in row.values()])


async def summary(lakehouse: Lakehouse, table: str) -> dict[str, str]:
    def look(catalog: Any) -> dict[str, str]:
        snapshot = catalog.load_table(table).current_snapshot()
        fields = snapshot.summary
        return {"operation": fields.operation.value, **fields.additional_properties}

    return await lakehouse.catalog.run(look)
