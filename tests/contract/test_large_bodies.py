"""Bodies that cost the gateway far more than their size: each gets a short answer soon."""

import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.airbyte.schemas import SourceCreate, StreamBody
from app.airbyte.source_configs import KafkaConfig
from app.bodies import MOST_UNKNOWN
from app.data_products.schemas import ProductCreate
from app.data_transformation.schemas import TransformRequest
from app.dbt_transformations.schemas import TransformationCreate
from app.edge import strict
from app.edge.body_size import MOST_PARTS, TOO_MANY_PARTS, has_too_many_parts
from app.edge.repeats import refuse_repeated_fields
from app.errors import InvalidBody
from app.http.known_names import MOST_NAMED
from tests.contract.problems import assert_problem

JSON = {"content-type": "application/json"}
MANY = [1] * 10_000
UNKNOWN = {f"field{number}": 1 for number in range(5000)}
FEWER = dict(list(UNKNOWN.items())[:2000])
ID = "00000000-0000-4000-8000-000000000000"


def ingestion(stream: dict[str, Any]) -> dict[str, Any]:
    ids = {"sourceId": "a", "destinationId": "b"}
    return {"name": "x", **ids, "streams": [{"name": "a", **stream}]}


TRANSFORMATION = {"name": "x", "sql_query": "SELECT 1 AS a"}
PRODUCT = {"name": "x", "owner": "o", "data_product_type": "CUSTOM", "sql_query": "SELECT 1 AS a"}
EXPENSIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "wrong cursor fields": ("/airbyte/ingestion", ingestion({"cursor_field": MANY})),
    "wrong keys": ("/airbyte/ingestion", ingestion({"primary_key": MANY})),
    "empty keys": ("/airbyte/ingestion", ingestion({"primary_key": [[""]] * 10_000})),
    "unknown fields of a stream": ("/airbyte/ingestion", ingestion(UNKNOWN)),
    "wrong streams": ("/airbyte/ingestion", {**ingestion({}), "streams": MANY}),
    "wrong tags": ("/dbt/transform", {**TRANSFORMATION, "tags": MANY}),
    "wrong unique keys": ("/dbt/transform", {**TRANSFORMATION, "unique_key": MANY}),
    "wrong consumers": ("/data-products", {**PRODUCT, "consumers": MANY}),
    "unknown fields of a product": ("/data-products", {**PRODUCT, **UNKNOWN}),
    "unknown fields of a job": ("/spark/transform", {"sql": "SELECT 1 AS a", **UNKNOWN}),
    "unknown fields of a file": (
        "/airbyte/datasource",
        {
            "name": "x",
            "type": "file",
            "config": {"url": "a.csv", **FEWER},
        },
    ),
}


@pytest.mark.parametrize("name", EXPENSIVE)
async def test_a_body_of_many_faults_names_few_of_them(
    client: httpx.AsyncClient, nothing_changes: None, name: str
) -> None:
    path, body = EXPENSIVE[name]
    problem = assert_problem(await client.post(path, json=body), 422, "invalid-body")
    assert 1 <= len(problem["errors"]) <= MOST_NAMED
    assert len(json.dumps(problem)) < 10_000


LISTS: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (StreamBody, {"name": "a", "cursor_field": MANY}),
    (StreamBody, {"name": "a", "primary_key": MANY}),
    (StreamBody, {"name": "a", "primary_key": [[""] * 10_000] * 100}),
    (TransformationCreate, {**TRANSFORMATION, "tags": MANY}),
    (TransformationCreate, {**TRANSFORMATION, "unique_key": MANY}),
    (ProductCreate, {**PRODUCT, "consumers": MANY}),
    (ProductCreate, {**PRODUCT, "tags": MANY}),
    (KafkaConfig, {"bootstrap_servers": MANY, "topic": "t", "group_id": "g"}),
]


@pytest.mark.parametrize(("model", "body"), LISTS)
def test_a_list_is_read_up_to_its_first_fault(model: type[BaseModel], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as wrong:
        model.model_validate(body)
    assert wrong.value.error_count() == 1


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (TransformationCreate, TRANSFORMATION),
        (TransformRequest, {"sql": "SELECT 1 AS a"}),
        (ProductCreate, {**PRODUCT, "sql_query": "SELECT 1 AS a"}),
    ],
)
def test_few_unknown_fields_become_faults(model: type[BaseModel], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as wrong:
        model.model_validate({**UNKNOWN, **body})
    assert {fault["type"] for fault in wrong.value.errors()} == {"extra_forbidden"}
    assert wrong.value.error_count() == MOST_UNKNOWN


def test_the_older_name_of_a_field_is_known_among_many_unknown_ones() -> None:
    older = {name: value for name, value in PRODUCT.items() if name != "sql_query"}
    with pytest.raises(ValidationError) as wrong:
        ProductCreate.model_validate({**UNKNOWN, **older, "source_query": "SELECT 1 AS a"})
    assert {fault["type"] for fault in wrong.value.errors()} == {"extra_forbidden"}


def test_a_config_of_many_faults_names_few_of_them() -> None:
    config = {"url": "a.csv", **{f"dataset_nam{number}": 1 for number in range(2000)}}
    with pytest.raises(ValidationError) as wrong:
        SourceCreate.model_validate({"name": "x", "type": "file", "config": config})
    assert wrong.value.errors()[0]["msg"].count("is not a known field") == MOST_NAMED


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"1," * MOST_PARTS + b"1]",
        b"[" + b"{}," * MOST_PARTS + b"1]",
        b'{"x": [' + b'{"a":1,"a":2},' * MOST_PARTS + b"1]}",
        b"{" + b",".join(b'"a%d":1' % number for number in range(MOST_PARTS + 1)) + b"}",
        b"[" + b'"",' * MOST_PARTS + b"1]",
        b"[" + b'"a\\"",' * MOST_PARTS + b"1]",
        b'"' * (MOST_PARTS * 5) + b"," * (MOST_PARTS + 1),
    ],
)
async def test_a_body_of_many_values_is_refused_before_it_is_parsed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    def never(*_: Any) -> None:
        pytest.fail("the body was looked at")

    monkeypatch.setattr(strict, "_refuse_text", lambda place, _: place == "body" and never())
    monkeypatch.setattr(Request, "json", never)
    for path in ("/dbt/validate-sql", f"/runs/{ID}/cancel"):
        answer = await client.post(path, content=body, headers=JSON)
        detail = assert_problem(answer, 422, "invalid-body")["detail"]
        assert detail == TOO_MANY_PARTS


@pytest.mark.parametrize("text", ["," * 120_000, '\\"[,' * 50_000, "\\\\" * 50_000 + "," * 60_000])
def test_a_text_may_have_any_number_of_commas(text: str) -> None:
    body = b'{"sql": "%s", "b": ["%s", 1]}' % (text.encode(), text.encode())
    assert json.loads(body)
    assert not has_too_many_parts(body)


async def test_a_body_of_a_method_that_has_none_is_not_read(client: httpx.AsyncClient) -> None:
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b"[1," * 1000

    for method, path in (("GET", "/runs"), ("DELETE", f"/data-products/{ID}")):
        answer = await client.request(method, path, content=pieces(), headers=JSON)
        detail = assert_problem(answer, 422, "invalid-body")["detail"]
        assert detail == "body: is not empty; this route takes no body"
        answer = await client.request(method, path, content=b"[1," * 1_000_000, headers=JSON)
        assert_problem(answer, 422, "invalid-body")
    assert (await client.request("GET", "/runs", content=b"{}")).status_code == 200


def test_repeated_names_are_found_in_one_way_through_an_object() -> None:
    with pytest.raises(InvalidBody) as wrong:
        refuse_repeated_fields(b'{"x":[' + b'{"a":1,"a":2,"b":3},' * 20_000 + b"1]}")
    assert len(wrong.value.members["errors"]) == MOST_NAMED
    with pytest.raises(InvalidBody) as inside:
        refuse_repeated_fields(b'{"x":[' + b'{"a":1,"a":2},' * 20 + b'1],"x":1}')
    assert wrong.value.detail != inside.value.detail
    assert [fault["field"] for fault in inside.value.members["errors"]] == ["body.x"]


def test_repeated_names_cost_no_path_for_each_value() -> None:
    """Each of the 3000 values below stands at a path of 10,000 characters."""
    name, values = b"k" * 100, 3000
    inner = (b'{"%s":' % name) * 100 + b"[" + b",".join([b"1"] * values) + b"]" + b"}" * 100
    body = b'{"x":{"a":1,"a":1},"y":' + inner + b',"z":[' + b"[{}]," * values + b"1]}"
    tracemalloc.start()
    try:
        with pytest.raises(InvalidBody) as wrong:
            refuse_repeated_fields(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [fault["field"] for fault in wrong.value.members["errors"]] == ["body.x.a"]
    assert peak < 2_000_000
