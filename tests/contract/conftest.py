"""What bad input is measured against: the gateway's whole visible state before and after."""

from collections.abc import AsyncIterator

import httpx
import pytest


async def visible_state(client: httpx.AsyncClient) -> dict[str, object]:
    state: dict[str, object] = {}
    for path, total in (
        ("/dbt/transformations", "total_count"),
        ("/data-products", "total_count"),
        ("/spark/transform/jobs", "total_count"),
        ("/runs", "total_count"),
        ("/airbyte/datasource", "total"),
        ("/airbyte/sink", "total"),
        ("/dbt/tables/gold", "total_count"),
        ("/dbt/sources/silver", "total_count"),
    ):
        answer = await client.get(path)
        assert answer.status_code == 200, (path, answer.text)
        state[path] = answer.json()[total]
    return state


@pytest.fixture(scope="module")
async def nothing_changes(
    client: httpx.AsyncClient, small_silver_table: str
) -> AsyncIterator[None]:
    """Around a whole module, since what is made by one bad request would stay to the end."""
    before = await visible_state(client)
    yield
    assert await visible_state(client) == before


@pytest.fixture(scope="session")
async def small_silver_table(client: httpx.AsyncClient) -> str:
    name = "contract_orders"
    answer = await client.post(
        "/spark/transform",
        params={"wait_seconds": 60},
        json={
            "sql": "SELECT 1 AS id, 'a' AS name, CAST(2.5 AS DOUBLE) AS amount",
            "destination_table": name,
        },
    )
    assert answer.status_code == 200, answer.text
    run = await client.get(f"/runs/{answer.json()['run_id']}")
    assert run.json()["state"] == "succeeded", run.text
    return name
