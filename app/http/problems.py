"""Turns errors into `application/problem+json` (RFC 9457), in this one place."""

import inspect
import json
import shutil
from itertools import islice
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Mount

from app.errors import (
    PROBLEMS,
    AsgardError,
    BodyTooLarge,
    EngineUnreachable,
    InvalidBody,
    MethodNotAllowed,
    MissingScope,
    NotFound,
    TooManyRequests,
)
from app.http.dependencies import components, request_id_of_task
from app.http.known_names import MOST_NAMED, accepted_by, refusal, unknown_field
from app.http.text import shown
from app.redaction import clean, clean_value

FULL_DISK = 0.01
"""The share of a disk that SeaweedFS leaves free."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PATHS_HINT = "/docs and /openapi.json list every path."
UNKNOWN = "extra_forbidden"
"""Pydantic's name for a field that a body does not have."""
MEDIA_TYPE = "application/problem+json"
PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {
            "type": "string",
            "description": "Stable name of the kind of error. `GET /problems` lists them.",
            "examples": ["/problems/sql-not-select"],
        },
        "title": {"type": "string", "description": "The type in words."},
        "status": {"type": "integer", "description": "Status of the response."},
        "detail": {"type": "string", "description": "What is wrong with this request."},
        "instance": {"type": "string", "description": "Path of the request."},
        "request_id": {
            "type": ["string", "null"],
            "description": "`X-Request-Id` of the request, which the log names.",
        },
        "hint": {"type": "string", "description": "What to do about it."},
        "unknown": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The fields and parameters that the route does not have.",
            "examples": [["body.materialized"]],
        },
        "errors": {
            "type": "array",
            "description": "What is wrong with each field or parameter. Only in a 422.",
            "items": {
                "type": "object",
                "required": ["field", "problem"],
                "properties": {
                    "field": {"type": "string", "description": "Path of the field or parameter."},
                    "problem": {"type": "string", "description": "What is wrong with it."},
                    "nearest": {"type": "string", "description": "The most similar known name."},
                    "position": {
                        "type": "integer",
                        "description": "Number of the character in the text, from 1.",
                    },
                },
            },
        },
    },
}


class ProblemType(BaseModel):
    """A kind of error."""

    type: str = Field(description="The `type` of such errors.")
    title: str = Field(description="The type in words.")
    status: int = Field(description="Status of such responses.")
    meaning: str = Field(description="When it is returned.")


def problem_response(error: AsgardError, instance: str, headers: Any = None) -> Response:
    # The error may come from work that several callers share, which did not know this caller's
    # secrets.
    document: dict[str, Any] = {
        **clean_value(error.members),
        "type": f"/problems/{error.problem}",
        "title": error.title,
        "status": error.status,
        "detail": clean(error.detail),
        "instance": instance,
        "request_id": request_id_of_task.get(),
    }
    if error.hint:
        document["hint"] = clean(error.hint)
    if isinstance(error, MissingScope):
        scope = error.members["missing"]
        authenticate = f'Bearer realm="asgard", error="insufficient_scope", scope="{scope}"'
        headers = {**(headers or {}), "WWW-Authenticate": authenticate}
    if error.retry_after:
        headers = {**(headers or {}), "Retry-After": str(error.retry_after)}
    return _json(document, error.status, headers)


def install(app: FastAPI) -> None:
    app.add_exception_handler(AsgardError, _asgard_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """Add the problem, as the response to all faults, to every operation of an OpenAPI document."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {
                "description": "A problem (RFC 9457); `GET /problems` lists the types",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
    return document


def catalogue() -> list[dict[str, Any]]:
    """Return every problem type that the service can answer with, for `GET /problems`."""
    return [
        {
            "type": f"/problems/{error.problem}",
            "title": error.title,
            "status": error.status,
            "meaning": inspect.getdoc(error) if error.__doc__ else error.title,
        }
        for error in sorted(PROBLEMS.values(), key=lambda error: (error.status, error.problem))
    ]


def _disk_hint(request: Request) -> str | None:
    """Return a hint if the disk is full. The embedded lakehouse cannot report that; it only
    fails."""
    home = components(request).settings.home
    if not home.exists():
        return None
    disk = shutil.disk_usage(home)
    if disk.free > disk.total * FULL_DISK:
        return None
    return f"The disk of ASGARD_HOME has {disk.free >> 20} MB left: free some space."


async def _asgard_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AsgardError)  # noqa: S101 — what the registration guarantees
    if isinstance(error, EngineUnreachable) and error.hint is None:
        error.hint = _disk_hint(request)
    return problem_response(error, request.url.path)


async def _validation_error(request: Request, error: Exception) -> Response:
    """Name each wrong field, but never its value, which may be a secret."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    expected = accepted_by(request.scope["route"])
    errors_ = error.errors()
    unknown = (item["loc"][1:] for item in errors_ if item["type"] == UNKNOWN)
    fields = [unknown_field(path, expected) for path in islice(unknown, MOST_NAMED)]
    others = (item for item in errors_ if item["type"] != UNKNOWN)
    faults = [
        {"field": ".".join(shown(str(part)) for part in item["loc"]), "problem": item["msg"]}
        for item in islice(others, MOST_NAMED - len(fields))
    ]
    return problem_response(refusal(fields, faults), request.url.path)


async def _http_exception(request: Request, error: Exception) -> Response:
    """Convert the framework's errors: an unknown path or method, or a body that it cannot read."""
    assert isinstance(error, HTTPException)  # noqa: S101
    target = f"{request.method} {request.url.path}"
    headers = error.headers
    problem: AsgardError
    match error.status_code:
        case 404:
            problem = NotFound(f"There is no route {target}.", hint=PATHS_HINT)
        case 405:
            allowed = _methods(request)
            if allowed:
                headers = {**(headers or {}), "Allow": ", ".join(_with_head(allowed))}
            methods = f" The path supports {' and '.join(allowed)}." if allowed else ""
            problem = MethodNotAllowed(f"There is no route {target}.{methods}", hint=PATHS_HINT)
        case 413:
            problem = BodyTooLarge(str(error.detail))
        case 429:
            problem = TooManyRequests(str(error.detail))
        case _:
            problem = InvalidBody(str(error.detail))
    return problem_response(problem, request.url.path, headers)


def _methods(request: Request) -> list[str]:
    """Return the methods of all routes that have this path. The framework's own answer names only
    those of the first route."""
    scopes = [(method, {**request.scope, "method": method}) for method in METHODS]
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    return [
        method
        for method, scope in scopes
        if any(route.matches(dict(scope))[0] is Match.FULL for route in routes)
    ]


def _with_head(methods: list[str]) -> list[str]:
    """Add HEAD, which every route that answers GET also answers (see `app/edge/middleware.py`)."""
    return ["GET", "HEAD", *methods[1:]] if methods[:1] == ["GET"] else methods


def _json(document: dict[str, Any], status: int, headers: Any) -> Response:
    # The request may contain half a surrogate pair, and then so does the text about it.
    body = json.dumps(document, ensure_ascii=False, default=str).encode(errors="backslashreplace")
    return Response(body, status, headers=headers, media_type=MEDIA_TYPE)
