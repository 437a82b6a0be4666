"""Refuses parts of a request that would be ignored, and text that cannot be stored. Then frees the
raw body, which nothing needs any more."""

import json
from email.message import Message
from email.utils import collapse_rfc2231_value
from itertools import islice
from typing import Any

from fastapi import Depends, Request
from starlette.datastructures import Headers

from app.edge.repeats import refuse_repeated_fields, refuse_repeated_parameters
from app.errors import InvalidBody
from app.http.dependencies import keep_fingerprint
from app.http.known_names import (
    MOST_NAMED,
    Accepted,
    accepted_by,
    refusal,
    unknown_field,
    unknown_query,
)
from app.http.raw_body import free_raw_body, raw_body
from app.http.text import LONGEST_NAME, TextProblem, text_faults

BODILESS = frozenset({"GET", "HEAD", "DELETE"})
NOTHING = frozenset({b"", b"{}", b"null"})
"""Bodies that programs send to routes without a body."""
NOT_EMPTY = "body: is not empty; this route takes no body"
TEXT_HINT = "Text must not contain control characters other than tab, LF and CR."
LONGEST_TYPE = 200
"""Characters of a Content-Type. Python's parser of its parameters takes a time that grows with the
square of their length."""
MOST_READ = 4096
"""The bytes that are read of a body whose method has none."""
JSON_HINT = "Send the header Content-Type: application/json."
WHOLE_HINT = "Send the whole body, uncompressed and without this header."
UTF8_HINT = "Send JSON in UTF-8 (RFC 8259, 8.1)."
UTF8 = frozenset({"utf-8", "utf8"})


async def _strictly(request: Request) -> None:
    """Check path, query and body. Raise `InvalidBody`."""
    accepted = accepted_by(request.scope["route"])
    query = request.query_params
    _refuse_text("path", request.path_params)
    for name, value in query.multi_items():
        _refuse_text("query", {name: value})
    if unknown := unknown_query(list(query), accepted):
        raise refusal(unknown)
    refuse_repeated_parameters((name for name, _ in query.multi_items()), accepted.lists)
    is_small = accepted.body is None and request.method in BODILESS
    body = await (_small_body(request) if is_small else raw_body(request))
    if accepted.body is None:
        _refuse_body(body, accepted)
    elif body:
        _require_whole(request.headers)
        _require_json(request.headers.get("content-type"))
        _require_utf8(body)
        _refuse_text("body", await request.json())
        refuse_repeated_fields(body)
    keep_fingerprint(request, body)
    free_raw_body(request)


STRICTLY = Depends(_strictly)
"""A dependency of every route except the documentation pages. It runs after the scope check."""


def _refuse_text(place: str, value: Any) -> None:
    faults: list[TextProblem] = list(islice(text_faults(place, value), MOST_NAMED))
    if faults:
        detail = "; ".join(f"{fault['field']}: {fault['problem']}" for fault in faults)
        raise InvalidBody(detail, hint=TEXT_HINT, errors=faults)


async def _small_body(request: Request) -> bytes:
    """Return the body, or refuse it without reading it if it is larger than an empty one."""
    length = request.headers.get("content-length", "0")
    body = b""
    if not (length.isdigit() and int(length) > MOST_READ):
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_READ:
                break
        else:
            return body
    raise InvalidBody(NOT_EMPTY, hint="Send no body.")


def _refuse_body(body: bytes, accepted: Accepted) -> None:
    """Refuse a body that the route does not take. Its fields count as unknown fields."""
    if body.strip() in NOTHING:
        return
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    _refuse_text("body", fields)
    if isinstance(fields, dict) and fields:
        raise refusal([unknown_field((name,), accepted) for name in islice(fields, MOST_NAMED)])
    raise InvalidBody(NOT_EMPTY, hint="Send no body.")


def _require_whole(headers: Headers) -> None:
    """Refuse headers by which another program would read the body as other bytes, or as a part."""
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        problem = f"the body is encoded as {encoding[:LONGEST_NAME]}; expected no encoding"
        raise _fault_of_body("header.content-encoding", problem, WHOLE_HINT)
    if "content-range" in headers:
        problem = "the body is only a part; expected the whole body"
        raise _fault_of_body("header.content-range", problem, WHOLE_HINT)


def _require_json(content_type: str | None) -> None:
    if content_type is None:
        sent = "without a Content-Type"
    elif len(content_type) > LONGEST_TYPE:
        sent = f"with a Content-Type of {len(content_type)} characters"
    elif _is_json(content_type):
        _require_charset(content_type)
        return
    else:
        sent = f"as {content_type[:LONGEST_NAME]}"
    problem = f"the body is sent {sent}; expected application/json"
    raise _fault_of_body("header.content-type", problem, JSON_HINT)


def _require_charset(content_type: str) -> None:
    """Refuse a charset with which another program would read the body as a different text."""
    message = Message()
    message["content-type"] = content_type
    for name, value in message.get_params([]):
        charset = collapse_rfc2231_value(value)
        if name.lower() == "charset" and charset.lower() not in UTF8:
            problem = f"the charset is {charset[:LONGEST_NAME]}; expected utf-8"
            raise _fault_of_body("header.content-type", problem, UTF8_HINT)


def _require_utf8(body: bytes) -> None:
    """Python's parser of JSON also takes UTF-16, UTF-32 and a byte order mark."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise _fault_of_body("body", "is not in UTF-8", UTF8_HINT) from None
    if text.startswith("\ufeff"):
        raise _fault_of_body("body", "begins with a byte order mark", UTF8_HINT)
    if "\0" in text:
        raise _fault_of_body("body", "is not in UTF-8: it contains NUL bytes", UTF8_HINT)


def _fault_of_body(field: str, problem: str, hint: str) -> InvalidBody:
    fault = {"field": field, "problem": problem}
    return InvalidBody(f"{field}: {problem}", hint=hint, errors=[fault])


def _is_json(content_type: str) -> bool:
    """Decide as the framework does, which then parses the body."""
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    is_json = subtype == "json" or subtype.endswith("+json")
    return message.get_content_maintype() == "application" and is_json
