"""The OpenAPI document tells a reader, and a generator of clients, everything about each route."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from app.config import Settings
from app.main import create_app

DOCUMENT = create_app(Settings(_env_file=None)).openapi()
OPERATIONS: list[tuple[str, dict[str, Any]]] = [
    (f"{method.upper()} {path}", operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
VERBS = "cancel|check|create|delete|download|get|list|preview|run|submit|sync|update|validate"


def fields(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every property in a schema, at any depth, with its path."""
    if isinstance(schema, list):
        for number, item in enumerate(schema):
            yield from fields(item, f"{path}[{number}]")
    if not isinstance(schema, dict):
        return
    for name, value in (schema.get("properties") or {}).items():
        yield f"{path}.{name}", value
        yield from fields(value, f"{path}.{name}")
    for keyword in ("items", "additionalProperties", "anyOf", "oneOf", "allOf"):
        yield from fields(schema.get(keyword), path)


def test_every_field_has_a_description() -> None:
    found = [
        item
        for name, schema in DOCUMENT["components"]["schemas"].items()
        for item in fields(schema, name)
    ]
    assert len(found) > 300
    assert [path for path, field in found if not field.get("description")] == []


def test_every_parameter_has_a_description() -> None:
    missing = [
        f"{operation_name}: {parameter['name']}"
        for operation_name, operation in OPERATIONS
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    ]
    assert missing == []


def test_every_operation_has_a_description() -> None:
    assert [name for name, operation in OPERATIONS if not operation.get("description")] == []


def test_every_tag_has_a_text() -> None:
    texts = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert set(texts) == {tag for _, operation in OPERATIONS for tag in operation["tags"]}
    assert all(texts.values())


def test_operation_ids_are_good_names_of_methods() -> None:
    ids = [operation["operationId"] for _, operation in OPERATIONS]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    assert [name for name in ids if not re.fullmatch(rf"({VERBS})_[a-z_]+", name)] == []
    assert {"list_runs", "create_source", "run_data_product", "get_health"} <= set(ids)


@pytest.mark.parametrize(
    ("name", "operation"), OPERATIONS, ids=[operation["operationId"] for _, operation in OPERATIONS]
)
def test_every_successful_response_is_typed(name: str, operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        if status.startswith("2") and status != "204":
            assert response["content"], (name, status)
            for media_type, content in response["content"].items():
                assert {"$ref", "type"}.intersection(content["schema"]), (name, status, media_type)


def test_every_list_has_one_envelope_beside_its_older_name() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    envelopes = 0
    for _, operation in OPERATIONS:
        content = operation["responses"].get("200", {}).get("content", {})
        name = str(content.get("application/json", {}).get("schema", {}).get("$ref", ""))
        properties = schemas.get(name.rpartition("/")[2], {}).get("properties", {})
        if not operation["operationId"].startswith("list_") or "events" in properties:
            continue
        if "type" not in content["application/json"]["schema"]:
            envelopes += 1
            assert {"items", "total_count"} <= set(properties), operation["operationId"]
            older = [
                field
                for key, field in properties.items()
                if key != "items" and field.get("items") == properties["items"]["items"]
            ]
            assert len(older) == 1, operation["operationId"]
    assert envelopes == 12
