"""The API conforms to its own OpenAPI document, for any request."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import CheckContext
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.config import Settings
from app.main import create_app
from tests.live_gateway import live_gateway

document = create_app(Settings(_env_file=None)).openapi()
schema = schemathesis.openapi.from_dict(document)

MEANT = {501, 503, 504}
"""Expected server errors: not supported, not reachable, not in time."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with live_gateway(tmp_path_factory.mktemp("openapi"), WAIT_SECONDS="5") as live:
        yield live.url


def no_server_error(context: CheckContext, response: Response, case: Case) -> None:
    if response.status_code >= 500 and response.status_code not in MEANT:
        raise AssertionError(f"{response.status_code}: {response.text}")


@schema.parametrize()
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(gateway: str, case: Case) -> None:
    case.call_and_validate(
        base_url=gateway,
        checks=[
            no_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
        timeout=60,
    )


def test_docs_work_without_the_internet(gateway: str) -> None:
    for page in ("/docs", "/redoc"):
        text = httpx.get(gateway + page).text
        assert "https://" not in text.replace("https://fastapi.tiangolo.com", "")
        for asset in ("/static/swagger-ui-bundle.js", "/static/redoc.standalone.js"):
            assert httpx.get(gateway + asset).status_code == 200


def test_every_problem_type_is_listed(gateway: str) -> None:
    expected = {item["type"] for item in httpx.get(f"{gateway}/problems").json()}
    assert {"/problems/sql-not-select", "/problems/not-found", "/problems/conflict"} <= expected
    assert {"/problems/method-not-allowed", "/problems/body-too-large"} <= expected


def test_the_document_names_the_documented_routes() -> None:
    documented = Path(__file__).with_name("documented_routes.json")
    for method, path in json.loads(documented.read_text()):
        assert method in document["paths"][path], (method, path)


@pytest.mark.parametrize("end", [b"\n", b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"])
def test_the_command_serves_http_strictly(gateway: str, end: bytes) -> None:
    url = httpx.URL(gateway)
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(b"POST /health HTTP/1.1\r\nHost: 127.0.0.1" + end + b"\r\n")
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"/problems/malformed-request") == 1


def test_metrics_are_in_prometheus_format(gateway: str) -> None:
    answer = httpx.get(f"{gateway}/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "asgard_http_requests_total" in answer.text
