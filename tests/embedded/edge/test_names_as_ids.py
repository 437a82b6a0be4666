"""A resource can be addressed by its name wherever it is addressed by its id."""

from typing import Any

import httpx
import pytest

from app.errors import Conflict
from app.names import id_of

SELECT = "SELECT 1 AS x"


async def created(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code in {200, 201}, answer.text
    fields: dict[str, Any] = answer.json()
    return fields


async def read(client: httpx.AsyncClient, path: str, status: int = 200) -> dict[str, Any]:
    answer = await client.get(path)
    assert answer.status_code == status, answer.text
    fields: dict[str, Any] = answer.json()
    return fields


async def test_an_ingestion_and_its_parts_are_found_by_name(client, lakehouse) -> None:
    data = lakehouse.home / "data" / "named"
    data.mkdir(parents=True)
    (data / "named_rows.csv").write_text("a,b\n1,2\n")
    body = {"name": "named source", "type": "file", "config": {"url": "named/"}}
    source = await created(client, "/airbyte/datasource", body)
    sink = await created(client, "/airbyte/sink", {"name": "named sink", "type": "s3"})
    body = {
        "name": "named ingestion",
        "sourceId": "named source",
        "destinationId": "named sink",
    }
    ingestion = await created(client, "/airbyte/ingestion", body)
    assert ingestion["sourceId"] == source["id"]
    assert ingestion["destinationId"] == sink["id"]
    assert await read(client, "/airbyte/datasource/named source") == source
    assert await read(client, "/airbyte/sink/named sink") == sink
    assert await read(client, "/airbyte/ingestion/named ingestion") == ingestion
    status = await read(client, "/airbyte/ingestion/named ingestion/status")
    assert status["ingestionId"] == ingestion["connectionId"]
    for path in ("ingestion/named ingestion", "datasource/named source", "sink/named sink"):
        assert (await client.delete(f"/airbyte/{path}")).status_code == 204, path
        await read(client, f"/airbyte/{path}", 404)


async def test_a_transformation_is_found_by_name(client) -> None:
    body = {"name": "found_by_name", "sql_query": SELECT}
    item = await created(client, "/dbt/transform", body)
    found = await read(client, "/dbt/transformations/found_by_name")
    assert found["transformation_id"] == item["transformation_id"]
    answer = await client.post("/dbt/transformations/found_by_name/run")
    assert answer.json()["status"] == "completed", answer.text
    deleted = await client.delete(
        "/dbt/transformations/found_by_name", params={"drop_table": "true"}
    )
    assert deleted.status_code == 204


async def test_a_data_product_is_found_by_name_and_audited_by_id(client) -> None:
    body = {"name": "Found by Name", "data_product_type": "CUSTOM", "owner": "o"}
    product = await created(client, "/data-products", {**body, "sql_query": SELECT})
    path = "/data-products/Found by Name"
    assert await read(client, path) == product
    assert (await read(client, f"{path}/stats"))["data_product_id"] == product["id"]
    changed = await client.put(path, json={"owner": "other"})
    assert changed.json()["owner"] == "other"
    assert (await client.delete(path)).status_code == 204
    audit = await client.get("/audit", params={"resource_id": product["id"]})
    assert {item["method"] for item in audit.json()["records"]} == {"POST", "PUT", "DELETE"}


async def test_an_ambiguous_name_is_a_conflict_that_lists_the_ids(client) -> None:
    twins = [
        (await created(client, "/airbyte/sink", {"name": "twin", "type": "s3"}))["id"]
        for _ in range(2)
    ]
    problem = await read(client, "/airbyte/sink/twin", 409)
    assert problem["type"] == "/problems/conflict"
    assert sorted(problem["ids"]) == sorted(twins)
    for id_ in twins:
        assert (await read(client, f"/airbyte/sink/{id_}"))["name"] == "twin"
        assert (await client.delete(f"/airbyte/sink/{id_}")).status_code == 204


async def test_an_id_wins_over_a_name() -> None:
    async def existing() -> list[tuple[str, str]]:
        return [("1", "2"), ("2", "other"), ("3", "twin"), ("4", "twin")]

    assert await id_of("2", "source", existing) == "2"
    assert await id_of("other", "source", existing) == "2"
    assert await id_of("unknown", "source", existing) == "unknown"
    with pytest.raises(Conflict) as conflict:
        await id_of("twin", "source", existing)
    assert conflict.value.members["ids"] == ["3", "4"]


@pytest.mark.parametrize(
    "text", ["0E86748E-5EF0-4B5B-BBB3-C5C2D5F1A0E1", "0e86748E-5ef0-4b5b-bbb3-c5c2d5f1a0e1"]
)
async def test_an_id_has_one_spelling(text: str) -> None:
    """Airbyte ignores the case of ids, but runs and locks are found by them."""

    async def none() -> list[tuple[str, str]]:
        return []

    assert await id_of(text, "ingestion", none) == "0e86748e-5ef0-4b5b-bbb3-c5c2d5f1a0e1"
