"""The outer edge of every request: its id, its caller, its limits, its log line and its metrics."""

import time
import uuid
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.audit.record import LONGEST_PATH
from app.caller import Caller, identity_of
from app.config import Settings
from app.edge.audit import SAFE_METHODS, audit_recorder, is_change
from app.edge.authentication import PROBES, UNKNOWN, Gatekeeper, challenge
from app.edge.body import TWO_LENGTHS, BodyReader, too_large
from app.edge.hosts import refuse_other_hosts
from app.edge.proxies import Proxies
from app.edge.rate_limit import RateLimit
from app.edge.repeats import refuse_repeated_headers
from app.edge.response import Deadline, ResponseGuard
from app.errors import (
    AnswerTooSlow,
    AsgardError,
    BodyTooLarge,
    CrossSite,
    MalformedRequest,
    RequestTooSlow,
    Unauthorized,
)
from app.http.dependencies import REQUEST_ID, request_id_of_task
from app.http.problems import problem_response
from app.redaction import Scope as SecretScope
from app.redaction import within
from app.telemetry.calls import Telemetry, Work, in_log
from app.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)
METHODS = SAFE_METHODS | {"POST", "PUT", "PATCH", "DELETE"}
MOST_DIGITS = 18
UNTRACED = PROBES | {"/metrics"}
"""Asked every few seconds by machines."""


@dataclass(frozen=True)
class EdgeRequest:
    """A request, as far as the edge looks at it."""

    scope: Scope
    receive: Receive
    headers: Headers
    request_id: str
    address: str


class Edge:
    """Wraps the application. Nothing but an answer leaves it: an error that no handler knew is
    logged with its traceback and answered as a bare 500."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, settings: Settings, telemetry: Telemetry
    ) -> None:
        self.app = app
        self.telemetry = telemetry
        self.metrics = metrics
        self.trusted_hosts = settings.trusted_hosts
        self.cors_origins = settings.cors_origins
        self.max_body = settings.max_body_bytes
        self.timeout = settings.request_timeout
        self.proxies = Proxies(settings.trusted_proxies)
        limit = settings.requests_per_minute
        self.door = Gatekeeper(settings.shows_docs, RateLimit(limit), RateLimit(limit))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        token = request_id_of_task.set(request_id)
        origin = self.proxies.origin(scope, headers)
        method: str = scope["method"]
        is_head = method == "HEAD"
        answer = ResponseGuard(send, request_id, origin.is_https, is_head)
        started = time.perf_counter()
        with self._traced(scope, headers) as work:
            answer.traceresponse = work.traceparent
            logged = {"request_id": request_id, **in_log(work)}
            structlog.contextvars.bind_contextvars(**logged)
            if is_head:
                # The server still sees the method in its own scope. Every GET route answers HEAD.
                scope = {**scope, "method": "GET"}
            try:
                asked = EdgeRequest(scope, receive, headers, request_id, origin.address)
                await self._answer(asked, answer)
            finally:
                self._account(scope, method, answer.status, time.perf_counter() - started, work)
                structlog.contextvars.unbind_contextvars(*logged)
                request_id_of_task.reset(token)

    def _traced(self, scope: Scope, headers: Headers) -> AbstractContextManager[Work]:
        if scope["path"] in UNTRACED:
            return nullcontext(Work())
        known = {"http.request.method": scope["method"], "url.path": scope["path"]}
        return self.telemetry.work(scope["method"], "server", headers.get("traceparent"), known)

    async def _answer(self, asked: EdgeRequest, answer: ResponseGuard) -> None:
        scope, caller = asked.scope, UNKNOWN
        path: str = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            scope["path"] = path.rstrip("/") or "/"
        if is_change(scope):
            answer.keep = audit_recorder(scope, caller, asked.address, asked.request_id)
        try:
            self._look_at(scope["method"], asked.headers)
            if not self.door.is_open(scope["path"]):
                caller = await self.door.admit(scope, asked.headers, asked.address)
                scope.setdefault("state", {})["caller"] = caller
                if answer.keep is not None:
                    answer.keep = audit_recorder(scope, caller, asked.address, asked.request_id)
                self.door.require_rate(self.door.rate, identity_of(caller.subject))
        except AsgardError as refusal:
            more = challenge(asked.headers) if isinstance(refusal, Unauthorized) else None
            response = problem_response(refusal, path, more)
            # What follows may be a second request, or the rest of this one.
            response = _close(response) if isinstance(refusal, MalformedRequest) else response
            await response(scope, asked.receive, answer)
            return
        with within(SecretScope()):
            await self._serve(asked, answer, path, caller)

    async def _serve(
        self, asked: EdgeRequest, answer: ResponseGuard, path: str, caller: Caller
    ) -> None:
        async def late() -> None:
            if answer.status:
                return
            answer.is_late = True
            log.warning(
                "request_late", path=path, subject=caller.subject, body_awaited=body.is_awaited
            )
            error = self._lateness(body.is_awaited)
            await _close(problem_response(error, path))(asked.scope, asked.receive, answer.say)

        clock = Deadline(self.timeout, late)
        body = BodyReader(asked.receive, asked.headers, self.max_body, clock.restart)
        asked.scope.setdefault("state", {})["extend_deadline"] = clock.extend
        try:
            await self.app(asked.scope, body, answer)
        except ClientDisconnect:
            if not answer.status:
                error: AsgardError = MalformedRequest("The body ended before it was complete.")
                await _close(problem_response(error, path))(asked.scope, body, answer)
        except Exception:
            if answer.is_late:
                return
            log.exception("request_failed", method=asked.scope["method"], path=path)
            if answer.status:
                raise
            error = AsgardError("Something went wrong in Asgard itself; its log has the cause.")
            await _close(problem_response(error, path))(asked.scope, body, answer)
        finally:
            clock.stop()
            if clock.answering is not None:
                await clock.answering

    def _lateness(self, body_awaited: bool) -> AsgardError:
        if body_awaited:
            return RequestTooSlow(f"The body did not arrive in {self.timeout:g} s.", retry_after=1)
        return AnswerTooSlow(
            f"There was no answer within {self.timeout:g} s (REQUEST_TIMEOUT).",
            hint="What was begun may still be done: look for it before you ask again.",
        )

    def _look_at(self, method: str, headers: Headers) -> None:
        if "content-length" in headers and "transfer-encoding" in headers:
            raise MalformedRequest(TWO_LENGTHS)
        refuse_repeated_headers(headers)
        refuse_other_hosts(headers, self.trusted_hosts)
        if method not in SAFE_METHODS and self._is_cross_site(headers):
            raise CrossSite(
                "A page of another site asked for this change.",
                hint="Call the API from a program, or from a page of its own host or one of "
                "CORS_ORIGINS.",
            )
        if _is_longer(headers.get("content-length", "0"), self.max_body):
            raise BodyTooLarge(too_large(self.max_body))

    def _is_cross_site(self, headers: Headers) -> bool:
        """By what browsers alone send: pages cannot change these headers, programs have none."""
        origin = headers.get("origin")
        if origin in self.cors_origins:
            return False
        if headers.get("sec-fetch-site") == "cross-site":
            return True
        return origin is not None and _host_of(origin) != headers.get("host")

    def _account(self, scope: Scope, method: str, status: int, seconds: float, work: Work) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        # Anybody can make methods up, and every one would be a series for ever.
        counted = method if method in METHODS else "other"
        self.metrics.requests.labels(counted, route, str(status)).inc()
        self.metrics.latency.labels(counted, route).observe(seconds)
        work.name = f"{counted} {route}"
        work.attributes = {"http.route": route, "http.response.status_code": status}
        work.error = str(status) if status >= 500 else None
        log.info(
            "request",
            method=method,
            path=scope["path"][:LONGEST_PATH],
            status=status,
            seconds=round(seconds, 4),
        )


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.match(given) else uuid.uuid4().hex


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_longer(length: str, limit: int) -> bool:
    """Python reads no number of more than 4,300 digits."""
    digits = length.lstrip("0")
    return digits.isdecimal() and (len(digits) > MOST_DIGITS or int(digits) > limit)


def _close(response: Response) -> Response:
    response.headers["Connection"] = "close"
    return response
