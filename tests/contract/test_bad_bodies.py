"""Invalid bodies, names, ids and pages are refused on every route, and change nothing."""

import json
from typing import Any

import httpx
import pytest

from tests.contract.problems import assert_problem

TRANSFORMATION: dict[str, Any] = {"name": "fine", "sql_query": "SELECT 1 AS id"}
PRODUCT: dict[str, Any] = {
    "name": "Fine",
    "description": "fine",
    "data_product_type": "CUSTOM",
    "owner": "team",
    "update_frequency": "daily",
    "sql_query": "SELECT 1 AS id",
}
UNKNOWN = "00000000-0000-4000-8000-000000000000"
JINJA = ["{{ env_var('AWS_SECRET_ACCESS_KEY') }}", "{% if x %}", "{# x #}"]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "1st"},
        {"name": "with space"},
        {"name": "drop;table"},
        {"name": "../etc"},
        {"name": "a" * 101},
        {"name": ""},
        {"name": None},
        {"materialization": "snapshot"},
        {"materialization": "table", "incremental_strategy": "merge"},
        {"materialization": "incremental", "incremental_strategy": "merge"},
        {"materialization": "incremental", "incremental_strategy": "merge", "unique_key": []},
        {"sql_query": None},
        {"sql_query": 7},
        {"tags": "not-a-list"},
    ],
)
async def test_a_transformation_of_the_wrong_shape_is_422(
    client: httpx.AsyncClient, nothing_changes: None, change: dict[str, Any]
) -> None:
    answer = await client.post("/dbt/transform", json={**TRANSFORMATION, **change})
    assert_problem(answer, 422, "invalid-body")


@pytest.mark.parametrize("field", ["description", "tags", "owner"])
@pytest.mark.parametrize("text", JINJA)
async def test_templates_are_refused_in_what_describes_a_transformation(
    client: httpx.AsyncClient, nothing_changes: None, field: str, text: str
) -> None:
    value: Any = [text] if field == "tags" else text
    answer = await client.post("/dbt/transform", json={**TRANSFORMATION, field: value})
    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("field", ["name", "description", "tags", "owner", "consumers"])
@pytest.mark.parametrize("text", JINJA)
async def test_templates_are_refused_in_what_describes_a_product(
    client: httpx.AsyncClient, nothing_changes: None, field: str, text: str
) -> None:
    value: Any = [text] if field in {"tags", "consumers"} else text
    answer = await client.post("/data-products/", json={**PRODUCT, field: value})
    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "change",
    [
        {"data_product_type": "NOTHING"},
        {"update_frequency": "sometimes"},
        {"owner": ""},
        {"name": ""},
        {"sql_query": None},
        {"consumers": "bi"},
    ],
)
async def test_a_product_of_the_wrong_shape_is_422(
    client: httpx.AsyncClient, nothing_changes: None, change: dict[str, Any]
) -> None:
    answer = await client.post("/data-products/", json={**PRODUCT, **change})
    assert_problem(answer, 422, "invalid-body")


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"in": value}
    return value


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (json.dumps(nested(21)), "nested more than 20 levels"),
        (json.dumps(nested(200)), "nested more than 20 levels"),
        (json.dumps({"long": "x" * 70_000}), "at most 65536"),
        ('{"a": "{{ 1 }}", "\\ud800": 1}', "not Unicode"),
        ('{"a": "\\ud800"}', "not Unicode"),
        ('{"a": NaN}', "NaN or Infinity"),
        ('{"a": [-Infinity]}', "NaN or Infinity"),
        ('{"a": 1e999}', "NaN or Infinity"),
    ],
)
async def test_free_json_that_cannot_be_stored_unchanged_is_422(
    client: httpx.AsyncClient, nothing_changes: None, free: str, expected: str
) -> None:
    headers = {"content-type": "application/json"}
    for path, body, field in (
        ("/data-products", PRODUCT, "metadata"),
        ("/airbyte/datasource", {"name": "f", "type": "faker"}, "config"),
        ("/airbyte/sink", {"name": "s", "type": "s3"}, "config"),
    ):
        text = json.dumps({**body, field: "FREE"}).replace('"FREE"', free)
        answer = await client.post(path, content=text, headers=headers)
        assert expected in str(assert_problem(answer, 422, "invalid-body")["detail"])


@pytest.mark.parametrize("levels", [1, 20])
async def test_metadata_is_returned_unchanged(client: httpx.AsyncClient, levels: int) -> None:
    product = {**PRODUCT, "name": f"Nested {levels}", "metadata": nested(levels)}
    created = (await client.post("/data-products", json=product)).json()
    assert created["metadata"] == product["metadata"]
    answer = await client.delete(f"/data-products/{created['id']}")
    assert answer.status_code == 204


async def test_a_field_whose_name_is_not_unicode_is_422(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/spark/transform",
        content='{"sql": "SELECT 1 AS a", "\\ud800": 1}',
        headers={"content-type": "application/json"},
    )
    assert_problem(answer, 422, "invalid-body")


@pytest.mark.parametrize(
    "change",
    [
        {"executor_memory": "lots"},
        {"executor_memory": "-1g"},
        {"driver_memory": "0"},
        {"executor_instances": 0},
        {"executor_cores": 0},
        {"driver_cores": 1.5},
        {"write_mode": "truncate"},
        {"destination_table": "no-good"},
        {"destination_table": "a" * 101},
        {"sql": None},
    ],
)
async def test_a_spark_job_of_the_wrong_shape_is_422(
    client: httpx.AsyncClient, nothing_changes: None, change: dict[str, Any]
) -> None:
    answer = await client.post("/spark/transform", json={"sql": "SELECT 1 AS id", **change})
    assert_problem(answer, 422, "invalid-body")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/dbt/transformations/{UNKNOWN}"),
        ("DELETE", f"/dbt/transformations/{UNKNOWN}"),
        ("POST", f"/dbt/transformations/{UNKNOWN}/run"),
        ("GET", f"/data-products/{UNKNOWN}"),
        ("DELETE", f"/data-products/{UNKNOWN}"),
        ("POST", f"/data-products/{UNKNOWN}/run"),
        ("GET", f"/data-products/{UNKNOWN}/lineage"),
        ("GET", f"/data-products/{UNKNOWN}/stats"),
        ("GET", "/spark/transform/0123456789abcdef/status"),
        ("GET", "/spark/transform/0123456789abcdef/logs"),
        ("GET", "/spark/transform/0123456789abcdef/events"),
        ("GET", "/spark/transform/0123456789abcdef/metrics"),
        ("POST", "/spark/transform/0123456789abcdef/cancel"),
        ("GET", "/runs/0123456789abcdef"),
        ("GET", "/runs/0123456789abcdef/logs"),
        ("GET", "/runs/0123456789abcdef/events"),
        ("POST", "/runs/0123456789abcdef/cancel"),
        ("GET", f"/airbyte/datasource/{UNKNOWN}"),
        ("DELETE", f"/airbyte/datasource/{UNKNOWN}"),
        ("POST", f"/airbyte/datasource/{UNKNOWN}/check"),
        ("GET", f"/airbyte/datasource/{UNKNOWN}/streams"),
        ("GET", f"/airbyte/sink/{UNKNOWN}"),
        ("GET", f"/airbyte/ingestion/{UNKNOWN}"),
        ("GET", f"/airbyte/ingestion/{UNKNOWN}/status"),
        ("POST", f"/airbyte/ingestion/{UNKNOWN}/sync"),
        ("DELETE", f"/airbyte/ingestion/{UNKNOWN}"),
    ],
)
async def test_an_unknown_id_is_404(client: httpx.AsyncClient, method: str, path: str) -> None:
    assert_problem(await client.request(method, path), 404, "not-found")


@pytest.mark.parametrize("path", ["/dbt/transformations", "/data-products"])
@pytest.mark.parametrize("query", ["page=0", "page=-1", "page_size=0", "page_size=101", "page=x"])
async def test_an_invalid_page_is_422(client: httpx.AsyncClient, path: str, query: str) -> None:
    assert_problem(await client.get(f"{path}?{query}"), 422, "invalid-body")


async def test_a_body_of_ten_megabytes_is_413(
    client: httpx.AsyncClient, nothing_changes: None
) -> None:
    body = json.dumps({**TRANSFORMATION, "description": "x" * 10_000_000})
    headers = {"content-type": "application/json"}
    answer = await client.post("/dbt/transform", content=body, headers=headers)
    assert_problem(answer, 413, "body-too-large")


async def test_a_body_that_is_too_large_without_a_length_is_413(
    client: httpx.AsyncClient, nothing_changes: None
) -> None:
    async def chunks():  # type: ignore[no-untyped-def]
        for _ in range(100):
            yield b"x" * 100_000

    answer = await client.post(
        "/dbt/transform", content=chunks(), headers={"content-type": "application/json"}
    )
    assert_problem(answer, 413, "body-too-large")


@pytest.mark.parametrize("content", [b"{not json", b"\xff\xfe", b'{"a":' * 100_000])
async def test_a_body_that_is_not_json_is_422(client: httpx.AsyncClient, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post("/dbt/transform", content=content, headers=headers)
    assert_problem(answer, 422, "invalid-body")


async def test_a_misspelt_field_of_a_product_is_422(
    client: httpx.AsyncClient, nothing_changes: None
) -> None:
    answer = await client.post("/data-products", json={**PRODUCT, "ownr": "me"})
    assert "ownr" in str(assert_problem(answer, 422, "invalid-body")["detail"])
    answer = await client.put(f"/data-products/{UNKNOWN}", json={"ownr": "me"})
    assert "ownr" in str(assert_problem(answer, 422, "invalid-body")["detail"])


async def test_a_wrong_value_is_never_echoed(client: httpx.AsyncClient) -> None:
    secret = "hunter2-very-secret"
    body = {"name": "db", "type": "postgres", "config": {"host": 7, "password": secret}}
    answer = await client.post("/airbyte/datasource", json=body)
    assert answer.status_code == 422, answer.text
    assert secret not in answer.text


async def test_an_unknown_path_and_method_are_problems_too(client: httpx.AsyncClient) -> None:
    document = assert_problem(await client.get("/nothing/here"), 404, "not-found")
    assert document["detail"] == "There is no route GET /api/v1/nothing/here."
    assert "/docs" in str(document["hint"])
    answer = await client.put("/data-products", json={})
    document = assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert (await client.head("/data-products")).status_code == 200
    answer = await client.put(f"/runs/{UNKNOWN}/cancel")
    assert answer.headers["allow"] == "POST"
    assert "PUT /api/v1/data-products" in str(document["detail"])
    assert "GET and POST" in str(document["detail"])


async def test_host_names_are_case_insensitive(client: httpx.AsyncClient) -> None:
    assert (await client.get("/runs", headers={"host": "ASGARD"})).status_code == 200


async def test_a_missing_file_and_one_outside_the_allowed_directories_are_refused(
    client: httpx.AsyncClient, nothing_changes: None
) -> None:
    for url, problem in (
        ("/etc/passwd", "path-not-allowed"),
        ("s3://another/bronze/x.csv", "path-not-allowed"),
        ("http://example.com/x.csv", "path-not-allowed"),
    ):
        body = {"name": "f", "type": "file", "config": {"url": url}}
        assert_problem(await client.post("/airbyte/datasource", json=body), 400, problem)


async def test_an_unsupported_request_names_the_setting_that_enables_it(
    client: httpx.AsyncClient, nothing_changes: None
) -> None:
    config = {"host": "db.example.com", "database": "d", "username": "u", "password": "p"}
    answer = await client.post(
        "/airbyte/datasource", json={"name": "pg", "type": "postgres", "config": config}
    )
    document = assert_problem(answer, 501, "not-supported")
    assert document["setting"] == "AIRBYTE_BASE_URL"


async def test_an_untrusted_host_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/runs", headers={"host": "evil.example.com"})
    assert_problem(answer, 400, "invalid-request")


async def test_paths_answer_with_and_without_a_trailing_slash(client: httpx.AsyncClient) -> None:
    for path in ("/data-products", "/data-products/", "/runs", "/runs/"):
        assert (await client.get(path)).status_code == 200


async def test_a_valid_request_id_of_the_caller_is_returned(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/runs", headers={"X-Request-Id": "abc-1"})).headers[
        "x-request-id"
    ] == "abc-1"
    strange = await client.get("/runs", headers={"X-Request-Id": "a b\tc"})
    assert strange.headers["x-request-id"] != "a b\tc"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example.com"},
        {"Origin": "null"},
        {"Origin": "http://asgard:81"},
    ],
)
async def test_a_page_of_another_site_cannot_make_changes(
    client: httpx.AsyncClient, nothing_changes: None, headers: dict[str, str]
) -> None:
    answer = await client.post("/dbt/transform", json=TRANSFORMATION, headers=headers)
    assert_problem(answer, 403, "cross-site")


async def test_a_page_on_the_same_host_may_call_the_api(client: httpx.AsyncClient) -> None:
    headers = {"Origin": "http://asgard", "Sec-Fetch-Site": "same-origin"}
    answer = await client.post(
        "/dbt/validate-sql", json={"sql_query": "SELECT 1 AS a"}, headers=headers
    )
    assert answer.status_code == 200, answer.text
