"""The outer edge of every request: its id, its limits, its log line and its metrics."""

import time
import uuid
from typing import Any
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import AsgardError, BodyTooLarge, CrossSite, InvalidRequest
from app.http import REQUEST_ID, request_id_of_task
from app.problems import problem_response
from app.telemetry import Metrics

log = structlog.get_logger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Edge:
    """Wraps the application. Nothing but an answer leaves it: an error that no handler knew is
    logged with its traceback and answered as a bare 500."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, trusted_hosts: tuple[str, ...], max_body: int
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.trusted_hosts = trusted_hosts
        self.max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        token = request_id_of_task.set(request_id)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        answer = _Answer(send, request_id)
        started = time.perf_counter()
        try:
            await self._answer(scope, headers, receive, answer)
        finally:
            self._account(scope, answer.status, time.perf_counter() - started)
            structlog.contextvars.unbind_contextvars("request_id")
            request_id_of_task.reset(token)

    async def _answer(
        self, scope: Scope, headers: Headers, receive: Receive, answer: "_Answer"
    ) -> None:
        path: str = scope["path"]
        refusal = self._refusal(scope["method"], headers)
        if refusal is not None:
            await problem_response(refusal, path)(scope, receive, answer)
            return
        if len(path) > 1 and path.endswith("/"):
            scope["path"] = path.rstrip("/") or "/"
        try:
            await self.app(scope, _limited(receive, self.max_body), answer)
        except Exception:
            log.exception("request_failed", method=scope["method"], path=path)
            if answer.status:
                raise
            error = AsgardError("Something went wrong in Asgard itself; its log has the cause.")
            await _close(problem_response(error, path))(scope, receive, answer)

    def _refusal(self, method: str, headers: Headers) -> AsgardError | None:
        host = headers.get("host", "").rsplit(":", 1)[0]
        if not any(_matches(host, allowed) for allowed in self.trusted_hosts):
            return InvalidRequest("This host name is not served here; see TRUSTED_HOSTS.")
        if method not in SAFE_METHODS and _is_cross_site(headers):
            return CrossSite(
                "A page of another site asked for this change.",
                hint="Call the API from a program, or from a page of its own host.",
            )
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.max_body:
            return BodyTooLarge(_too_large(self.max_body))
        return None

    def _account(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method: str = scope["method"]
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.latency.labels(method, route).observe(seconds)
        log.info(
            "request", method=method, path=scope["path"], status=status, seconds=round(seconds, 4)
        )


class _Answer:
    """Passes the answer on and remembers its status; 0 until it has started."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
        await self._send(message)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.match(given) else uuid.uuid4().hex


def _matches(host: str, allowed: str) -> bool:
    host, allowed = host.lower(), allowed.lower()
    return allowed in {"*", host} or (allowed.startswith("*.") and host.endswith(allowed[1:]))


def _is_cross_site(headers: Headers) -> bool:
    """By what browsers alone send: pages cannot change these headers, programs have no Origin."""
    origin = headers.get("origin")
    if headers.get("sec-fetch-site") == "cross-site":
        return True
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def _limited(receive: Receive, limit: int) -> Receive:
    """Counts what arrives without a Content-Length (or with a false one)."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                raise HTTPException(413, _too_large(limit))
        return message

    return limited


def _too_large(limit: int) -> str:
    return f"A body has at most {limit} bytes (MAX_BODY_BYTES)."


def _close(response: Response) -> Any:
    response.headers["Connection"] = "close"
    return response
