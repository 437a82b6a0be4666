"""Tries every text field of every request body in the OpenAPI document with texts that some
language would read as its own. The text comes back unchanged, or it is refused."""

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Lakehouse
from tests.payloads import CANARY, JINJA, PAYLOADS

pytestmark = pytest.mark.thorough

SEED = random.SystemRandom().randrange(10**6)
EACH = 4
SELECT = "SELECT 1 AS id"
Path_ = tuple[str | int, ...]


@pytest.fixture(scope="module")
async def known(client: httpx.AsyncClient, lakehouse: Lakehouse) -> dict[str, Any]:
    """Holds what bodies and paths refer to, and texts that their fields accept."""
    file = f"text_{uuid4().hex[:8]}.csv"
    (lakehouse.home / "data").mkdir(exist_ok=True)
    (lakehouse.home / "data" / file).write_text("id\n1\n")
    name = file.partition(".")[0]
    source = {"name": name, "type": "file", "config": {"url": file}}
    source_id = (await made(client, "/airbyte/datasource", source))["id"]
    sink_id = (await made(client, "/airbyte/sink", {"name": name, "type": "s3"}))["id"]
    ids = {"sourceId": source_id, "destinationId": sink_id}
    product = {"name": name, "owner": "o", "data_product_type": "CUSTOM", "sql_query": SELECT}
    model = {"name": name, "sql_query": SELECT}
    made_ = {
        "ingestion_id": (await made(client, "/airbyte/ingestion", {"name": name, **ids})),
        "transformation_id": await made(client, "/dbt/transform", model),
        "product_id": await made(client, "/data-products", product),
    }
    names = {"ingestion_id": "connectionId", "product_id": "id"}
    return {
        **ids,
        **{key: body[names.get(key, key)] for key, body in made_.items()},
        "config": {"url": file},
        "streams": [{"name": name}],
        "type": "file",
        "sql": SELECT,
        "sql_query": SELECT,
        "unique_key": ["id"],
        "materialization": "incremental",
        "destination_table": name,
    }


async def made(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code < 300, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_every_text_comes_back_or_is_refused(
    client: httpx.AsyncClient, lakehouse: Lakehouse, known: dict[str, Any]
) -> None:
    chosen = random.Random(SEED)
    print(f"The texts are chosen with the seed {SEED}.")
    document = (await client.get("http://asgard/openapi.json")).json()
    tried = kept = 0
    for method, path, operation in bodies(document):
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = sample(document, schema, known)
        if path.endswith("/sink"):
            body |= {"type": "s3", "config": {}}
        waits = any(p["name"] == "wait_seconds" for p in operation.get("parameters", ()))
        for place in texts(document, schema, body):
            for text in (chosen.choice(JINJA), *chosen.sample(PAYLOADS, EACH)):
                given = with_text(body, place, text)
                answer = await client.request(
                    method,
                    path.removeprefix("/api/v1").format_map(known),
                    json=given,
                    params={"wait_seconds": 0} if waits else None,
                )
                told = (SEED, method, path, place, text, answer.status_code, answer.text)
                # 501: a type of source, for example, that this engine does not have.
                assert answer.status_code < 500 or answer.status_code == 501, told
                assert CANARY not in answer.text, told
                tried += 1
                if answer.status_code >= 400:
                    assert answer.headers["content-type"] == "application/problem+json", told
                elif (shown := at(answer.json(), place)) is not None:
                    assert shown in {text, text.strip()}, told
                    kept += 1
    assert tried > 100
    assert kept > 10
    assert CANARY not in (await client.get("/runs", params={"page_size": 100})).text
    for folder in (Path.cwd(), lakehouse.home):
        assert not (folder / "canary").exists()


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "requestBody" in operation:
                yield method, path, operation


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for option in schema.get("anyOf", ()):
        if option.get("type") != "null":
            return resolved(document, option)
    if "$ref" in schema:
        return resolved(document, document["components"]["schemas"][schema["$ref"].split("/")[-1]])
    return schema


def sample(document: dict[str, Any], schema: dict[str, Any], known: dict[str, Any]) -> Any:
    """A body with every field."""
    schema = resolved(document, schema)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {
                name: known[name] if name in known else sample(document, field, known)
                for name, field in schema.get("properties", {}).items()
            }
        case "array":
            return [sample(document, schema["items"], known)]
        case "integer" | "number":
            return schema.get("default") or schema.get("minimum") or 1
        case "boolean":
            return False
    return schema.get("default") or "text"


def texts(document: dict[str, Any], schema: dict[str, Any], body: Any) -> Iterator[Path_]:
    schema = resolved(document, schema)
    for name, field in schema.get("properties", {}).items():
        yield from ((name, *rest) for rest in texts(document, field, body.get(name) or {}))
    if schema.get("additionalProperties") is True:
        yield ("text",)
    if schema.get("type") == "array":
        yield from ((0, *rest) for rest in texts(document, schema["items"], (body or [{}])[0]))
    if schema.get("type") == "string":
        yield ()


def with_text(body: Any, place: Path_, text: str) -> Any:
    if not place:
        return text
    changed = copy.copy(body) or ([{}] if place[0] == 0 else {})
    inner = changed[place[0]] if place[0] == 0 else changed.get(place[0])
    changed[place[0]] = with_text(inner, place[1:], text)
    return changed


def at(answer: Any, place: Path_) -> Any:
    for part in place:
        try:
            answer = answer[part]
        except (KeyError, IndexError, TypeError):
            return None
    return answer if isinstance(answer, str) else None
