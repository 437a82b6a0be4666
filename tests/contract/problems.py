"""The shape of every error (RFC 9457)."""

import httpx


def assert_problem(answer: httpx.Response, status: int, problem: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = answer.json()
    assert document["type"] == f"/problems/{problem}", document
    assert document["status"] == status
    assert isinstance(document["detail"], str)
    assert document["detail"]
    assert document["title"]
    assert document["instance"]
    assert document["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    return document
