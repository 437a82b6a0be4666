"""Requests that several tests make of the API, and the rows that come of them."""

from typing import Any

import httpx

from tests.conftest import Lakehouse


async def created(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(f"/airbyte/{path}", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def transform(client: httpx.AsyncClient, sql: str, **body: Any) -> dict[str, Any]:
    """Run the SQL to its end. The response's `status` is then the run's state."""
    answer = await client.post(
        "/spark/transform", params={"wait_seconds": 60}, json={"sql": sql, **body}
    )
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


async def succeed(client: httpx.AsyncClient, sql: str, **body: Any) -> dict[str, Any]:
    result = await transform(client, sql, **body)
    assert result["status"] == "succeeded", result
    return result


async def rows(lakehouse: Lakehouse, table: str) -> list[dict[str, Any]]:
    def scan(catalog: Any) -> list[dict[str, Any]]:
        scanned: list[dict[str, Any]] = catalog.load_table(table).scan().to_arrow().to_pylist()
        return scanned

    scanned = await lakehouse.catalog.run(scan)
    return sorted(scanned, key=lambda row: [str(value) for value in row.values()])
