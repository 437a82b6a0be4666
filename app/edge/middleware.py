"""Handles what every request has: an id, a caller, limits, a log line and metrics."""

import re
import time
import uuid
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.audit.record import LONGEST_PATH
from app.caller import Caller
from app.config import Settings
from app.edge.audit import SAFE_METHODS, audit_recorder, is_change
from app.edge.authentication import PROBES, UNKNOWN, Gatekeeper, challenge, share_of
from app.edge.body import TWO_LENGTHS, BodyReader, too_large
from app.edge.hosts import refuse_other_hosts
from app.edge.open_requests import OpenRequest, OpenRequests
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
LONGEST_METHOD = 20
ENCODED_SEPARATOR = re.compile(rb"%(2f|5c)", re.IGNORECASE)
UNTRACED = PROBES | {"/metrics"}
"""Paths that machines request every few seconds."""


@dataclass(frozen=True)
class EdgeRequest:
    """The parts of a request that the edge uses."""

    scope: Scope
    receive: Receive
    headers: Headers
    request_id: str
    address: str


class Edge:
    """Wraps the application. Every request gets an answer: an error without a handler is logged
    with its traceback and answered as a plain 500."""

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
        self.open_requests = OpenRequests(settings.max_open_requests, settings.max_body_bytes)
        self.gatekeeper = Gatekeeper(settings.shows_docs, RateLimit(limit), RateLimit(limit))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        token = request_id_of_task.set(request_id)
        origin = self.proxies.origin(scope, headers)
        # A client may invent a method of any length, and logs and records repeat it.
        scope = {**scope, "method": scope["method"][:LONGEST_METHOD]}
        method: str = scope["method"]
        is_head = method == "HEAD"
        response = ResponseGuard(send, request_id, origin.is_https, is_head)
        started = time.perf_counter()
        with self._traced(scope, headers) as work:
            response.traceresponse = work.traceparent
            log_fields = {"request_id": request_id, **in_log(work)}
            structlog.contextvars.bind_contextvars(**log_fields)
            if is_head:
                # The server's own scope keeps the method. Every GET route answers HEAD.
                scope = {**scope, "method": "GET"}
            try:
                request = EdgeRequest(scope, receive, headers, request_id, origin.address)
                await self._answer(request, response)
            finally:
                self._account(scope, method, response.status, time.perf_counter() - started, work)
                structlog.contextvars.unbind_contextvars(*log_fields)
                request_id_of_task.reset(token)

    def _traced(self, scope: Scope, headers: Headers) -> AbstractContextManager[Work]:
        if scope["path"] in UNTRACED:
            return nullcontext(Work())
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        traceparent = headers.get("traceparent")
        return self.telemetry.work(scope["method"], "server", traceparent, attributes)

    async def _answer(self, request: EdgeRequest, response: ResponseGuard) -> None:
        scope, caller = request.scope, UNKNOWN
        path: str = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            scope["path"] = path.rstrip("/") or "/"
        if is_change(scope):
            response.record = audit_recorder(scope, caller, request.address, request.request_id)
        with ExitStack() as ends:
            opened: OpenRequest | None = None
            try:
                self._check(scope["method"], scope.get("raw_path") or b"", request.headers)
                if not self.gatekeeper.is_open(scope["path"]):
                    caller = await self._admit(request, response)
                    share = share_of(caller, request.address)
                    self.gatekeeper.require_rate(self.gatekeeper.rate, share)
                    opened = ends.enter_context(self.open_requests.opened(share))
            except AsgardError as refusal:
                await self._refuse(request, response, path, refusal)
                return
            with within(SecretScope()):
                await self._serve(request, response, path, caller, opened)

    async def _admit(self, request: EdgeRequest, response: ResponseGuard) -> Caller:
        scope = request.scope
        caller = await self.gatekeeper.admit(scope, request.headers, request.address)
        scope.setdefault("state", {})["caller"] = caller
        if response.record is not None:
            response.record = audit_recorder(scope, caller, request.address, request.request_id)
        return caller

    async def _refuse(
        self, request: EdgeRequest, response: ResponseGuard, path: str, refusal: AsgardError
    ) -> None:
        headers = challenge(request.headers) if isinstance(refusal, Unauthorized) else None
        problem = problem_response(refusal, path, headers)
        # The bytes that follow may be a second request, or the rest of this one.
        problem = _close(problem) if isinstance(refusal, MalformedRequest) else problem
        await problem(request.scope, request.receive, response)

    async def _serve(
        self,
        request: EdgeRequest,
        response: ResponseGuard,
        path: str,
        caller: Caller,
        opened: OpenRequest | None,
    ) -> None:
        async def late() -> None:
            if response.status:
                return
            response.is_late = True
            log.warning(
                "request_late", path=path, subject=caller.subject, body_awaited=body.is_awaited
            )
            error = self._lateness(body.is_awaited)
            problem = _close(problem_response(error, path))
            await problem(request.scope, request.receive, response.send)

        deadline = Deadline(self.timeout, late)
        body = BodyReader(request.receive, request.headers, self.max_body, opened, deadline.restart)
        request.scope.setdefault("state", {})["extend_deadline"] = deadline.extend
        try:
            await self.app(request.scope, body, response)
        except ClientDisconnect:
            if not response.status:
                error: AsgardError = MalformedRequest("The body ended before it was complete.")
                await _close(problem_response(error, path))(request.scope, body, response)
        except Exception:
            if response.is_late:
                return
            log.exception("request_failed", method=request.scope["method"], path=path)
            if response.status:
                raise
            error = AsgardError("An internal error occurred in Asgard. Its log has the cause.")
            await _close(problem_response(error, path))(request.scope, body, response)
        finally:
            deadline.stop()
            if deadline.answering is not None:
                await deadline.answering

    def _lateness(self, body_awaited: bool) -> AsgardError:
        if body_awaited:
            return RequestTooSlow(f"The body did not arrive in {self.timeout:g} s.", retry_after=1)
        return AnswerTooSlow(
            f"There was no response within {self.timeout:g} s (REQUEST_TIMEOUT).",
            hint="The work may still complete: check before you send the request again.",
        )

    def _check(self, method: str, raw_path: bytes, headers: Headers) -> None:
        if "content-length" in headers and "transfer-encoding" in headers:
            raise MalformedRequest(TWO_LENGTHS)
        if ENCODED_SEPARATOR.search(raw_path):
            raise MalformedRequest(
                "The path contains an encoded slash or backslash (%2F or %5C). Proxies can read it "
                "differently from this gateway.",
                hint="Address the resource by its id.",
            )
        refuse_repeated_headers(headers)
        refuse_other_hosts(headers, self.trusted_hosts)
        if method not in SAFE_METHODS and self._is_cross_site(headers):
            raise CrossSite(
                "This change was requested by a page on another site.",
                hint="Call the API from a program, from a page on its own host, or from an origin "
                "in CORS_ORIGINS.",
            )
        if _is_longer(headers.get("content-length", "0"), self.max_body):
            raise BodyTooLarge(too_large(self.max_body))

    def _is_cross_site(self, headers: Headers) -> bool:
        """Decide from headers that only browsers send and that pages cannot change."""
        origin = headers.get("origin")
        if origin in self.cors_origins:
            return False
        if headers.get("sec-fetch-site") == "cross-site":
            return True
        return origin is not None and _host_of(origin) != headers.get("host")

    def _account(self, scope: Scope, method: str, status: int, seconds: float, work: Work) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        # Clients can invent methods, and each one would become a permanent series.
        label = method if method in METHODS else "other"
        self.metrics.requests.labels(label, route, str(status)).inc()
        self.metrics.latency.labels(label, route).observe(seconds)
        work.name = f"{label} {route}"
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
    header = headers.get("x-request-id", "")
    return header if REQUEST_ID.match(header) else uuid.uuid4().hex


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_longer(length: str, limit: int) -> bool:
    """Compare without parsing very long numbers: Python refuses more than 4,300 digits."""
    digits = length.lstrip("0")
    return digits.isdecimal() and (len(digits) > MOST_DIGITS or int(digits) > limit)


def _close(response: Response) -> Response:
    response.headers["Connection"] = "close"
    return response
