"""A real connector from the package index, and `/airbyte` over HTTP."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api_calls import created

USERS = 200


async def until_ended(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    answer = await client.get(f"/runs/{run_id}")
    while answer.json()["state"] in ("queued", "running"):
        answer = await client.get(f"/runs/{run_id}")
    return answer.json()


@pytest.fixture(scope="session")
async def sink(client: httpx.AsyncClient) -> dict[str, Any]:
    return await created(client, "sink", name="lake", type="s3")


@pytest.fixture(scope="session")
async def faker(client: httpx.AsyncClient) -> dict[str, Any]:
    """Create a source whose connector was not installed at that time."""
    body = {"name": "people", "type": "faker", "config": {"count": USERS, "seed": 7}}
    answer = await client.post("/airbyte/datasource", json=body)
    assert answer.status_code == 202, answer.text
    source = answer.json()
    assert answer.headers["location"].endswith(f"/runs/{source['run']['run_id']}")
    run = await until_ended(client, source["run"]["run_id"])
    assert run["state"] == "succeeded", run["failure"]
    assert (run["target"], run["engine"]["version"]) == ("connector/faker", "7.2.1")
    events = (await client.get(f"/runs/{run['run_id']}/events")).json()["events"]
    assert any("reading the connector's spec" in event["message"] for event in events)
    return source


async def test_a_source_of_an_installed_connector_is_created_at_once(
    client: httpx.AsyncClient, faker: dict[str, Any]
) -> None:
    source = await created(client, "datasource", name="more", type="faker", config={"count": 1})
    assert source["run"] is None
    connectors = (await client.get("/airbyte/connectors")).json()["connectors"]
    by_type = {connector["type"]: connector for connector in connectors}
    assert by_type["faker"]["installed"]
    assert by_type["faker"]["spec"]["properties"]["count"]["minimum"] == 1
    assert by_type["file"]["spec"]["required"] == ["url"]
    assert (await client.delete(f"/airbyte/datasource/{source['id']}")).status_code == 204
    assert (await client.get(f"/airbyte/datasource/{source['id']}")).status_code == 404


async def test_faker_is_synced_into_bronze(
    client: httpx.AsyncClient, faker: dict[str, Any], sink: dict[str, Any], lakehouse: Any
) -> None:
    streams = (await client.get(f"/airbyte/datasource/{faker['id']}/streams")).json()["streams"]
    users = next(stream for stream in streams if stream["name"] == "users")
    assert {"name": "email", "type": "string"} in users["columns"]
    assert users["sync_modes"][-1] == "incremental_append"
    ingestion = await created(
        client,
        "ingestion",
        name="people",
        sourceId=faker["id"],
        destinationId=sink["id"],
        streams=[{"name": "users"}, {"name": "purchases"}],
    )
    assert [s["path"] for s in ingestion["streams"]] == ["bronze/users", "bronze/purchases"]
    run = (await client.post(f"/airbyte/ingestion/{ingestion['connectionId']}/sync")).json()
    assert run["state"] == "succeeded", run["failure"]
    users, purchases = run["output"]["streams"]
    assert (users["rows"], purchases["rows"]) == (USERS, USERS)
    assert run["inputs"][0]["source"] == "people"
    keys = {info.key for info in await lakehouse.store.list("bronze/users/")}
    assert keys == set(users["files"])
    status = (await client.get(f"/airbyte/ingestion/{ingestion['connectionId']}/status")).json()
    assert status["last_job"] == {
        "id": run["run_id"],
        "state": "succeeded",
        "rows": 2 * USERS,
        "bytes": users["bytes"] + purchases["bytes"],
        "error": None,
    }
    assert status["lastSync"] == run["started_at"]
    refused = await client.delete(f"/airbyte/datasource/{faker['id']}")
    assert refused.status_code == 409
    assert refused.json()["conflicting_id"] == ingestion["connectionId"]


async def test_a_file_is_ingested_over_http(
    client: httpx.AsyncClient, sink: dict[str, Any], lakehouse: Any
) -> None:
    (lakehouse.home / "data" / "towns.csv").write_text("name\nOslo\nRome\n")
    source = await created(
        client, "datasource", name="towns", type="file", config={"url": "towns.csv"}
    )
    assert source["config"] == {"url": "towns.csv"}
    check = (await client.post(f"/airbyte/datasource/{source['id']}/check")).json()
    assert check == {"succeeded": True, "message": "Readable streams: towns."}
    listed = (await client.get("/airbyte/datasource")).json()
    assert {
        "id": source["id"],
        "sourceId": source["id"],
        "name": "towns",
        "sourceName": "file",
        "workspaceId": "default",
    } in listed["sources"]
    assert listed["total"] == len(listed["sources"])
    body = {"name": "towns", "sourceId": source["id"], "destinationId": sink["id"]}
    ingestion = await created(client, "ingestion", **body)
    assert ingestion["schedule"] == {
        "scheduleType": "manual",
        "cronExpression": None,
        "basicTiming": None,
    }
    assert ingestion["status"] == "active"
    sync = f"/airbyte/ingestion/{ingestion['connectionId']}/sync"
    answer = await client.post(sync, params={"wait_seconds": 0})
    assert answer.status_code == 202
    assert answer.headers["location"].endswith(answer.json()["run_id"])
    run = await until_ended(client, answer.json()["run_id"])
    assert run["output"]["streams"][0]["rows"] == 2
    patch = await client.patch(
        f"/airbyte/ingestion/{ingestion['connectionId']}", json={"status": "inactive"}
    )
    assert (patch.json()["status"], patch.json()["name"]) == ("inactive", "towns")
    assert (await client.post(sync)).status_code == 409
    for path in (f"ingestion/{ingestion['connectionId']}", f"datasource/{source['id']}"):
        assert (await client.delete(f"/airbyte/{path}")).status_code == 204
        assert (await client.get(f"/airbyte/{path}")).status_code == 404


async def test_a_repeated_key_returns_the_same_resource(
    client: httpx.AsyncClient, sink: dict[str, Any], lakehouse: Any
) -> None:
    (lakehouse.home / "data" / "keyed.csv").write_text("n\n1\n")
    source = {"name": "keyed", "type": "file", "config": {"url": "keyed.csv"}}
    resources, sent = [], []
    for path, body in (
        ("datasource", source),
        ("sink", {"name": "keyed", "type": "s3"}),
        ("ingestion", {"name": "keyed", "sourceId": None, "destinationId": sink["id"]}),
    ):
        if "sourceId" in body:
            body["sourceId"] = resources[0]["id"]
        headers = {"Idempotency-Key": f"{path}-{uuid4()}"}
        first = await client.post(f"/airbyte/{path}", json=body, headers=headers)
        second = await client.post(f"/airbyte/{path}", json=body, headers=headers)
        assert first.status_code == second.status_code == 201, second.text
        assert second.headers["idempotency-replayed"] == "true"
        assert first.json() == second.json()
        other = {**body, "name": "other"}
        third = await client.post(f"/airbyte/{path}", json=other, headers=headers)
        assert third.status_code in (409, 422), third.text
        resources.append(first.json())
        sent.append((f"/airbyte/{path}", body, headers))
    ids = [resources[0]["id"], resources[1]["id"], resources[2]["connectionId"]]
    for (path, body, headers), id_ in reversed(list(zip(sent, ids, strict=True))):
        assert (await client.delete(f"{path}/{id_}")).status_code == 204
        late = await client.post(path, json=body, headers=headers)
        assert (late.status_code, late.json()["type"]) == (410, "/problems/gone"), late.text
        assert (await client.get(f"{path}/{id_}")).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("datasource", {"name": "x", "type": "oracle", "config": {}}, 501, "not-supported"),
        ("datasource", {"name": "x", "type": "kafka", "config": {}}, 422, "invalid-body"),
        ("datasource", {"name": "x", "type": "faker", "config": {"count": 0}}, 422, "invalid-body"),
        ("datasource", {"name": "x", "type": "file", "config": {"path": "y"}}, 422, "invalid-body"),
        (
            "datasource",
            {"name": "{{ x }}", "type": "file", "config": {"url": "y"}},
            400,
            "sql-jinja",
        ),
        ("datasource", {"name": "x" * 101, "type": "faker", "config": {}}, 422, "invalid-body"),
        ("sink", {"name": "x", "type": "bigquery"}, 422, "invalid-body"),
        (
            "sink",
            {
                "name": "x",
                "type": "s3",
                "config": {
                    "s3_bucket_name": "elsewhere",
                    "s3_bucket_region": "us-east-1",
                    "access_key_id": "k",
                    "secret_access_key": "s",
                },
            },
            501,
            "not-supported",
        ),
        (
            "ingestion",
            {
                "name": "x",
                "sourceId": "x",
                "destinationId": "x",
                "schedule": {"scheduleType": "cron", "cronExpression": "not cron"},
            },
            422,
            "invalid-body",
        ),
    ],
)
async def test_bad_bodies_are_refused(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], status: int, problem: str
) -> None:
    before = (await client.get(f"/airbyte/{path}")).json()["total"]
    answer = await client.post(f"/airbyte/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == f"/problems/{problem}"
    if status == 501:
        assert answer.json()["setting"] == "AIRBYTE_BASE_URL"
    assert (await client.get(f"/airbyte/{path}")).json()["total"] == before


async def test_schedules_are_refused_with_the_name_of_the_setting(
    client: httpx.AsyncClient, sink: dict[str, Any], lakehouse: Any
) -> None:
    (lakehouse.home / "data" / "timed.csv").write_text("n\n1\n")
    source = await created(
        client, "datasource", name="timed", type="file", config={"url": "timed.csv"}
    )
    body = {
        "name": "timed",
        "sourceId": source["id"],
        "destinationId": sink["id"],
        "schedule": {"scheduleType": "cron", "cronExpression": "0 0 * * *"},
    }
    answer = await client.post("/airbyte/ingestion", json=body)
    assert (answer.status_code, answer.json()["setting"]) == (501, "AIRBYTE_BASE_URL")
    unknown = {**body, "sourceId": "nope", "schedule": {"scheduleType": "manual"}}
    assert (await client.post("/airbyte/ingestion", json=unknown)).status_code == 404
