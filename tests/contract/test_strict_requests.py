"""The gateway never ignores a part of a request. Tries every route, parameter and field of the
API's own document with an unknown name, and with text that is always refused."""

import json
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI, Query
from fastapi.routing import APIRoute

from app.config import Settings
from app.edge.repeats import refuse_repeated_parameters
from app.errors import InvalidBody
from app.http.known_names import accepted_by
from app.http.raw_body import BriefRoute
from app.main import ROUTERS, create_app
from tests.contract.problems import assert_problem

DOCUMENT = create_app(Settings(_env_file=None)).openapi()
SCHEMAS = DOCUMENT["components"]["schemas"]
ID = "0123456789abcdef"
BAD = [chr(number) for number in (0, 1, 8, 11, 12, 27, 31, 127, 128, 133, 159, 0xD800)]
SECRET = "hunter2"
JSON = {"content-type": "application/json"}

Path = tuple[str | int, ...]
OPERATIONS = [(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item]
every_operation = pytest.mark.parametrize(("method", "path"), OPERATIONS)


def operation(method: str, path: str) -> dict[str, Any]:
    return dict(DOCUMENT["paths"][path][method.lower()])


def parameters(method: str, path: str, place: str) -> list[str]:
    given = operation(method, path).get("parameters", [])
    return [item["name"] for item in given if item["in"] == place]


def url(path: str, **ids: str) -> str:
    for name in parameters_of_path(path):
        path = path.replace(f"{{{name}}}", ids.get(name, ID))
    return f"http://asgard{path}"


def parameters_of_path(path: str) -> list[str]:
    return [part.strip("{}") for part in path.split("/") if part.startswith("{")]


def nodes(schema: dict[str, Any], at: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every place in a body: its path, with `0` for an item of a list, and its schema."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    for variant in schema.get("anyOf", []):
        yield from nodes(variant, at)
    if "anyOf" in schema:
        return
    yield at, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, (*at, name))
    if isinstance(schema.get("items"), dict):
        yield from nodes(schema["items"], (*at, 0))


def body_nodes(method: str, path: str) -> list[tuple[Path, dict[str, Any]]]:
    content = operation(method, path).get("requestBody", {}).get("content", {})
    return list(nodes(content["application/json"]["schema"])) if content else []


def placed(at: Path, value: Any) -> Any:
    for part in reversed(at):
        value = {part: value} if isinstance(part, str) else [value]
    return value


def dotted(place: str, at: Path) -> str:
    return ".".join([place, *map(str, at)])


def told(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    """Return the faults by field."""
    problem = assert_problem(answer, 422, "invalid-body")
    errors: Any = problem["errors"]
    assert str(problem["detail"])
    return {item["field"]: item for item in errors}


def open_objects(method: str, path: str) -> list[Path]:
    return [
        at
        for at, schema in body_nodes(method, path)
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False
    ]


def test_only_the_intended_bodies_accept_any_field() -> None:
    found = {
        (path.removeprefix("/api/v1"), at)
        for method, path in OPERATIONS
        for at in open_objects(method, path)
    }
    assert found == {
        ("/airbyte/datasource", ("config",)),
        ("/airbyte/sink", ("config",)),
        ("/airbyte/sink", ("config", "format")),
        ("/data-products", ("metadata",)),
        ("/data-products/{product_id}", ("metadata",)),
    }


@every_operation
async def test_an_unknown_parameter_is_422(
    client: httpx.AsyncClient, nothing_changes: None, method: str, path: str
) -> None:
    answer = await client.request(method, url(path), params={"zz_unknown": SECRET})
    assert told(answer)["query.zz_unknown"]["problem"] == "is not a known parameter"
    assert answer.json()["unknown"] == ["query.zz_unknown"]
    assert SECRET not in answer.text
    known = parameters(method, path, "query")
    assert all(name in answer.json()["hint"] for name in known)
    for name in known:
        answer = await client.request(method, url(path), params={f"{name}x": "1"})
        assert told(answer)[f"query.{name}x"]["nearest"] == name
        assert answer.json()["hint"] == f'Did you mean "{name}"?'


@every_operation
async def test_an_unknown_field_is_422(
    client: httpx.AsyncClient, nothing_changes: None, method: str, path: str
) -> None:
    answer = await client.request(method, url(path), json={"zz_unknown": SECRET})
    assert told(answer)["body.zz_unknown"]["problem"] == "is not a known field"
    assert answer.json()["unknown"] == ["body.zz_unknown"]
    assert SECRET not in answer.text
    for at, schema in body_nodes(method, path):
        for name in schema.get("properties", {}) if not schema.get("additionalProperties") else ():
            answer = await client.request(method, url(path), json=placed((*at, f"{name}x"), SECRET))
            assert told(answer)[dotted("body", (*at, f"{name}x"))]["nearest"] == name
            assert SECRET not in answer.text


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("method", "path"), [one for one in OPERATIONS if "requestBody" in operation(*one)]
)
async def test_unwanted_characters_are_422_in_every_field(
    client: httpx.AsyncClient, nothing_changes: None, method: str, path: str
) -> None:
    for at, schema in body_nodes(method, path):
        if schema.get("type") == "string":
            await refused_in_body(client, method, path, at)
        if schema.get("type") == "object":
            await refused_as_name(client, method, path, at)
        if at in open_objects(method, path):
            await refused_in_body(client, method, path, (*at, "a", 0, "b"))


async def refused_in_body(client: httpx.AsyncClient, method: str, path: str, at: Path) -> None:
    for character in BAD:
        body = json.dumps(placed(at, f"{SECRET}{character}x"))
        answer = await client.request(method, url(path), content=body, headers=JSON)
        fault = told(answer)[dotted("body", at)]
        assert fault["position"] == 8
        assert f"U+{ord(character):04X}" in fault["problem"]
        assert SECRET not in answer.text


async def refused_as_name(client: httpx.AsyncClient, method: str, path: str, at: Path) -> None:
    for character in BAD:
        body = json.dumps(placed((*at, f"{SECRET}{character}x"), 1))
        answer = await client.request(method, url(path), content=body, headers=JSON)
        fault = told(answer)[dotted("body", at)]
        assert fault["position"] == 8
        assert "a name with" in fault["problem"]
        assert SECRET not in answer.text


@pytest.mark.thorough
@every_operation
async def test_unwanted_characters_are_422_in_every_parameter(
    client: httpx.AsyncClient, nothing_changes: None, method: str, path: str
) -> None:
    for character in BAD[:-1]:
        text = quote(f"{SECRET}{character}x")
        for name in parameters_of_path(path):
            answer = await client.request(method, url(path, **{name: text}))
            fault = told(answer)[f"path.{name}"]
            assert fault["position"] == 8
            assert SECRET not in str(answer.json()["detail"])
        for name in [*parameters(method, path, "query"), "zz_unknown"]:
            answer = await client.request(method, f"{url(path)}?{name}={text}")
            assert told(answer)[f"query.{name}"]["position"] == 8
            assert SECRET not in answer.text
        answer = await client.request(method, f"{url(path)}?{text}=1")
        assert "a name with" in told(answer)["query"]["problem"]
        assert SECRET not in answer.text


@every_operation
async def test_a_parameter_that_is_given_twice_is_422(
    client: httpx.AsyncClient, nothing_changes: None, method: str, path: str
) -> None:
    for name in parameters(method, path, "query"):
        answer = await client.request(method, f"{url(path)}?{name}=1&{name}={SECRET}")
        assert told(answer)[f"query.{name}"]["problem"] == "is given more than once"
        assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("method", "path"), [one for one in OPERATIONS if "requestBody" in operation(*one)]
)
async def test_a_field_that_is_given_twice_is_422_at_every_depth(
    client: httpx.AsyncClient, nothing_changes: None, method: str, path: str
) -> None:
    twice = f'{{"a": 1, "b": {{}}, "a": "{SECRET}"}}'
    for at, schema in body_nodes(method, path):
        if schema.get("type") != "object":
            continue
        for inner in (at, (*at, "x", 0)):
            body = json.dumps(placed(inner, "twice")).replace('"twice"', twice)
            answer = await client.request(method, url(path), content=body, headers=JSON)
            fault = told(answer)[dotted("body", (*inner, "a"))]
            assert fault["problem"] == "is given more than once"
            assert answer.json()["hint"] == "Send each name once."
            assert SECRET not in answer.text


async def test_a_repeated_field_is_found_by_its_decoded_name(
    client: httpx.AsyncClient, nothing_changes: None
) -> None:
    body = '{"sql_query": "SELECT 1 AS a", "sql\\u005fquery": "SELECT 2 AS a"}'
    answer = await client.post("/dbt/validate-sql", content=body, headers=JSON)
    assert list(told(answer)) == ["body.sql_query"]


async def test_many_repeated_fields_get_a_short_answer(
    client: httpx.AsyncClient, nothing_changes: None
) -> None:
    pairs = ",".join(f'"{"x" * 200}{number}":1,"{"x" * 200}{number}":1' for number in range(2000))
    answer = await client.post("/dbt/validate-sql", content=f"{{{pairs}}}", headers=JSON)
    assert len(answer.json()["errors"]) == 10
    assert len(answer.content) < 10_000


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "If-Match"),
        *("Origin", "Sec-Fetch-Site", "Last-Event-ID", "Content-Encoding", "Content-Range"),
    ],
)
async def test_a_single_header_that_is_given_twice_is_400(
    client: httpx.AsyncClient, nothing_changes: None, name: str
) -> None:
    values = {"Host": "asgard", "Content-Type": "application/json"}
    value = values.get(name, SECRET)
    headers = [("Host", "asgard"), *JSON.items()]
    headers = [item for item in headers if item[0].lower() != name.lower()]
    twice = [*headers, (name, value), (name.lower(), value)]
    content = json.dumps({"sql_query": "SELECT 1 AS a"})
    answer = await client.post("/dbt/validate-sql", content=content, headers=twice)
    problem = assert_problem(answer, 400, "malformed-request")
    assert problem["detail"] == f"The header {name} is given more than once; expected once."
    assert answer.headers["connection"] == "close"
    assert SECRET not in answer.text


def test_a_parameter_that_is_a_list_may_be_repeated() -> None:
    api = FastAPI()

    @api.get("/many")
    def many(tag: Annotated[list[str] | None, Query()] = None, name: str = "") -> None:
        """Takes one list and one text."""

    [route] = [route for route in api.routes if isinstance(route, APIRoute)]
    asked = accepted_by(route)
    assert asked.lists == ("tag",)
    refuse_repeated_parameters(["tag", "tag", "name"], asked.lists)
    with pytest.raises(InvalidBody, match=r"query\.name: is given more than once"):
        refuse_repeated_parameters(["tag", "name", "name"], asked.lists)


def test_every_endpoint_runs_without_the_raw_body() -> None:
    routes = [route for router, _ in ROUTERS for route in router.routes]
    assert routes
    assert [route for route in routes if not isinstance(route, BriefRoute)] == []


@pytest.mark.parametrize(
    "host",
    [
        *("asgard:abc", "asgard:80x", "asgard:-1", "asgard:+80", "asgard:70000", "asgard:8:8"),
        *("asgard/x", "user@asgard", "asgard asgard", "[::1", "::1", "asgard:\u0661", "asgard#"),
    ],
)
async def test_a_host_that_is_not_a_name_and_a_port_is_400(
    client: httpx.AsyncClient, host: str
) -> None:
    answer = await client.get("http://asgard/health", headers={"host": host.encode()})
    problem = assert_problem(answer, 400, "malformed-request")
    expected = "The Host header is invalid. Expected a name, optionally with a port."
    assert problem["detail"] == expected


@pytest.mark.parametrize("host", ["asgard", "ASGARD", "asgard:8000", "asgard:", "asgard:65535"])
async def test_a_host_may_have_a_port(client: httpx.AsyncClient, host: str) -> None:
    answer = await client.get("http://asgard/health", headers={"host": host})
    assert answer.status_code == 200, answer.text


STREAM = "/api/v1/runs/{run_id}/events"
"""A stream is not answered before its run is known; test_wire asks for the head of one."""
GETS = [
    *(("GET", path) for method, path in OPERATIONS if method == "GET" and path != STREAM),
    *(
        ("GET", path)
        for path in ("/", "/docs", "/redoc", "/openapi.json", "/static/swagger-ui.css")
    ),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("method", "path"), GETS)
async def test_head_is_answered_as_get_is_without_the_body(
    client: httpx.AsyncClient, nothing_changes: None, method: str, path: str
) -> None:
    for query in ("", "?zz_unknown=1"):
        with_body = await client.get(url(path) + query)
        head = await client.head(url(path) + query)
        assert head.status_code == with_body.status_code
        assert head.content == b""
        assert head.headers["content-type"] == with_body.headers["content-type"]


@pytest.mark.parametrize("number", [*range(32), *range(127, 160), 0xD800, 0xDBFF, 0xDC00, 0xDFFF])
async def test_unwanted_characters_are_not_text(
    client: httpx.AsyncClient, nothing_changes: None, number: int
) -> None:
    sql = json.dumps({"sql_query": f"SELECT 1 AS a -- {chr(number)}\n"})
    answer = await client.post("/dbt/validate-sql", content=sql, headers=JSON)
    if chr(number) in "\t\n\r":
        assert answer.json()["is_valid"] is True, answer.text
    else:
        assert told(answer)["body.sql_query"]["position"] == 18


@pytest.mark.parametrize("text", ["\u00a0", "é", "\u2028", "日本", "\U0001f600", "\ufffd"])
async def test_all_other_characters_are_text(client: httpx.AsyncClient, text: str) -> None:
    sql = {"sql_query": f"SELECT '{text}' AS a"}
    for body in (json.dumps(sql), json.dumps(sql, ensure_ascii=False)):
        answer = await client.post("/dbt/validate-sql", content=body, headers=JSON)
        assert answer.json()["is_valid"] is True, answer.text


async def test_characters_that_json_need_not_escape_are_refused_as_well(
    client: httpx.AsyncClient,
) -> None:
    for character in "\x7f\x80\x9f":
        body = json.dumps({"sql_query": f"SELECT {character}"}, ensure_ascii=False)
        answer = await client.post("/dbt/validate-sql", content=body.encode(), headers=JSON)
        assert f"U+{ord(character):04X}" in told(answer)["body.sql_query"]["problem"]


@pytest.mark.parametrize(
    ("method", "path", "body", "hint"),
    [
        ("POST", "/dbt/transform", {"materialized": "view"}, 'Did you mean "materialization"?'),
        ("POST", "/dbt/transform", {"sql": "SELECT 1"}, 'Did you mean "sql_query"?'),
        ("POST", "/dbt/transform", {"uniqueKey": ["a"]}, 'Did you mean "unique_key"?'),
        ("POST", "/spark/transform", {"query": "SELECT 1"}, 'Did you mean "sql"?'),
        ("POST", "/spark/transform", {"mode": "append"}, 'Did you mean "write_mode"?'),
        ("POST", "/data-products", {"labels": []}, 'Did you mean "tags"?'),
        ("POST", "/airbyte/ingestion", {"source_id": ID}, 'Did you mean "sourceId"?'),
        ("GET", "/runs?limit=2", None, 'Did you mean "page_size"?'),
        ("GET", "/runs?status=failed", None, 'Did you mean "state"?'),
        ("GET", "/data-products?state=active", None, 'Did you mean "status"?'),
        ("GET", "/spark/transform/jobs?page_size=2", None, 'Did you mean "limit"?'),
        ("GET", f"/runs/{ID}/logs?lines=5", None, 'Did you mean "tail_lines"?'),
        ("GET", f"/runs/{ID}/logs?a=5&tail=5", None, '"tail": did you mean "tail_lines"?'),
        (
            "POST",
            "/dbt/transform",
            {"wait_seconds": 1},
            '"wait_seconds" is a query parameter of this route.',
        ),
        (
            "POST",
            "/dbt/transform?name=a",
            None,
            '"name" is a field of the body of this route.',
        ),
        (
            "POST",
            "/dbt/transform?idempotency_key=a",
            None,
            '"idempotency_key" is a header of this route.',
        ),
        (
            "POST",
            f"/data-products/{ID}/run",
            {"wait_seconds": 1},
            '"wait_seconds" is a query parameter of this route.',
        ),
        ("GET", f"/runs/{ID}?full=1", None, "This route takes no query parameters."),
        ("POST", f"/runs/{ID}/cancel", {"reason": "late"}, "This route takes no body."),
    ],
)
async def test_the_hint_suggests_a_similar_name(
    client: httpx.AsyncClient,
    nothing_changes: None,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    hint: str,
) -> None:
    answer = await client.request(method, path, json=body)
    assert hint in str(assert_problem(answer, 422, "invalid-body")["hint"])


async def test_an_unknown_field_of_a_file_source_gets_a_suggestion(
    client: httpx.AsyncClient, nothing_changes: None
) -> None:
    body = {"name": "f", "type": "file", "config": {"url": "a.csv", "data_set": "x"}}
    answer = await client.post("/airbyte/datasource", json=body)
    assert 'did you mean "dataset_name"?' in told(answer)["body.config"]["problem"]


@pytest.mark.parametrize("path", ["/dbt/transform", f"/runs/{ID}/cancel"])
async def test_many_unknown_names_get_a_short_answer_quickly(
    client: httpx.AsyncClient, nothing_changes: None, path: str
) -> None:
    many = {f"materialize{number}": 1 for number in range(50_000)}
    in_body = await client.post(path, json=many, timeout=10)
    in_query = await client.post(path, params=dict(list(many.items())[:2000]), timeout=10)
    for answer in (in_body, in_query):
        unknown: Any = assert_problem(answer, 422, "invalid-body")["unknown"]
        assert len(unknown) == 10
        assert len(answer.content) < 10_000


async def test_a_very_long_name_is_shown_in_part(
    client: httpx.AsyncClient, nothing_changes: None
) -> None:
    for at in ({"materialized" * 100_000: 1}, {"tags": [{"x" * 1_000_000: "\x00"}]}):
        answer = await client.post("/dbt/transform", json=at)
        assert_problem(answer, 422, "invalid-body")
        assert len(answer.content) < 2_000


async def test_documented_names_are_all_accepted(client: httpx.AsyncClient) -> None:
    product = {
        "name": f"Older Name {uuid4().hex[:8]}",
        "data_product_type": "CUSTOM",
        "owner": "team",
        "source_query": "SELECT 1 AS id",
        "metadata": {"anything": {"at": ["all"]}},
    }
    created = await client.post("/data-products/", json=product)
    assert created.status_code == 201, created.text
    assert (await client.delete(f"/data-products/{created.json()['id']}")).status_code == 204
    missing = f"/dbt/transformations/{ID}/run"
    for params, body in (({"full_refresh": "true"}, None), ({}, {"full_refresh": True})):
        answer = await client.post(missing, params=params, json=body)
        assert_problem(answer, 404, "not-found")


@pytest.mark.parametrize("content", [b"", b" ", b"{}", b"null"])
async def test_an_empty_body_counts_as_no_body(client: httpx.AsyncClient, content: bytes) -> None:
    for headers in ({}, JSON):
        answer = await client.post(f"/runs/{ID}/cancel", content=content, headers=headers)
        assert_problem(answer, 404, "not-found")


@pytest.mark.parametrize("content", [b"[1]", b"text", b'"text"', b"\xff", b"[" * 100_000])
async def test_a_body_on_a_route_without_one_is_422(
    client: httpx.AsyncClient, content: bytes
) -> None:
    answer = await client.post(f"/runs/{ID}/cancel", content=content)
    detail = assert_problem(answer, 422, "invalid-body")["detail"]
    assert detail == "body: is not empty; this route takes no body"


@pytest.mark.parametrize(
    ("content_type", "sent"),
    [
        (None, "without a Content-Type"),
        ("application/x-www-form-urlencoded", "as application/x-www-form-urlencoded"),
        ("text/plain; charset=utf-8", "as text/plain; charset=utf-8"),
        ("application/jsonx", "as application/jsonx"),
        ("json", "as json"),
        ("application/json, text/plain", "as application/json, text/plain"),
        (
            'application/json; x="' + ";" * 3000,
            "with a Content-Type of 3021 characters",
        ),
        ("application/json;" + " " * 184, "with a Content-Type of 201 characters"),
    ],
)
async def test_a_body_that_is_not_sent_as_json_is_422_with_the_reason(
    client: httpx.AsyncClient, nothing_changes: None, content_type: str | None, sent: str
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    content = json.dumps({"sql_query": f"SELECT '{SECRET}' AS a"}).encode()
    answer = await client.post("/dbt/validate-sql", content=content, headers=headers)
    problem = assert_problem(answer, 422, "invalid-body")
    assert problem["detail"] == (
        f"header.content-type: the body is sent {sent}; expected application/json"
    )
    assert problem["hint"] == "Send the header Content-Type: application/json."
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        "application/vnd.example+json; charset=utf-8",
        "application/json; x=" + "y" * 180,
    ],
)
async def test_every_json_media_type_is_accepted(
    client: httpx.AsyncClient, content_type: str
) -> None:
    content = json.dumps({"sql_query": "SELECT 1 AS a"})
    headers = {"content-type": content_type}
    answer = await client.post("/dbt/validate-sql", content=content, headers=headers)
    assert answer.json()["is_valid"] is True, answer.text


VALID = '{"sql_query": "SELECT 1 AS a"}'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (VALID.encode("utf-8-sig"), "begins with a byte order mark"),
        (VALID.encode("utf-16"), "is not in UTF-8"),
        (VALID.encode("utf-16-le"), "is not in UTF-8: it contains NUL bytes"),
        (VALID.encode("utf-16-be"), "is not in UTF-8: it contains NUL bytes"),
        (VALID.encode("utf-32"), "is not in UTF-8"),
        (VALID.encode("utf-32-le"), "is not in UTF-8: it contains NUL bytes"),
        (VALID.encode("utf-32-be"), "is not in UTF-8: it contains NUL bytes"),
    ],
)
async def test_a_body_in_another_encoding_than_utf_8_is_422(
    client: httpx.AsyncClient, nothing_changes: None, content: bytes, problem: str
) -> None:
    answer = await client.post("/dbt/validate-sql", content=content, headers=JSON)
    assert told(answer)["body"]["problem"] == problem
    assert answer.json()["hint"] == "Send JSON in UTF-8 (RFC 8259, 8.1)."


@pytest.mark.parametrize(
    ("charset", "named"),
    [
        ("charset=utf-16", "utf-16"),
        ('charset="iso-8859-1"', "iso-8859-1"),
        ("charset=utf-8; charset=utf-7", "utf-7"),
        ("Charset=", ""),
        ("charset*=utf-8''utf-16", "utf-16"),
    ],
)
async def test_another_charset_than_utf_8_is_422(
    client: httpx.AsyncClient, nothing_changes: None, charset: str, named: str
) -> None:
    headers = {"content-type": f"application/json; {charset}"}
    answer = await client.post("/dbt/validate-sql", content=VALID, headers=headers)
    expected = f"the charset is {named}; expected utf-8"
    assert told(answer)["header.content-type"]["problem"] == expected


@pytest.mark.parametrize(
    ("header", "value", "problem"),
    [
        ("content-encoding", "gzip", "the body is encoded as gzip; expected no encoding"),
        ("content-encoding", "br, identity", "the body is encoded as br, identity; expected"),
        ("content-range", "bytes 0-9/100", "the body is only a part; expected the whole body"),
    ],
)
async def test_a_body_that_is_encoded_or_a_part_is_422(
    client: httpx.AsyncClient, nothing_changes: None, header: str, value: str, problem: str
) -> None:
    headers = {**JSON, header: value}
    answer = await client.post("/dbt/validate-sql", content=VALID, headers=headers)
    assert told(answer)[f"header.{header}"]["problem"].startswith(problem)


async def test_identity_is_no_encoding(client: httpx.AsyncClient) -> None:
    headers = {**JSON, "content-encoding": "identity"}
    answer = await client.post("/dbt/validate-sql", content=VALID, headers=headers)
    assert answer.status_code == 200


async def test_the_documentation_pages_accept_any_parameter(client: httpx.AsyncClient) -> None:
    for page in ("/", "/docs", "/redoc", "/openapi.json", "/static/swagger-ui.css"):
        answer = await client.get(f"http://asgard{page}", params={"v": "1"})
        assert answer.status_code == 200, page
