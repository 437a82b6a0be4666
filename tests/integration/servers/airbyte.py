"""A stand-in for Airbyte's public API over real HTTP, which Airbyte's own SDK has to accept.

It keeps state, pages, issues tokens that expire, checks configurations by each connector's spec,
runs jobs whose syncs write real Parquet where Airbyte's S3 destination would (`airbyte_jobs.py`),
and fails the way a test asks for. Started in a thread, on a free port of 127.0.0.1.
"""

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from tests.integration.servers.airbyte_document import Traffic
from tests.integration.servers.airbyte_state import S3_MODES, AirbyteState, Answer, Problem, Query

PREFIX = "/api/public/v1"
TOKEN_PATH = f"{PREFIX}/applications/token"


@dataclass
class Fault:
    """A fault of the next `times` requests whose `METHOD path` matches."""

    match: str
    times: int = 1
    after: int = 0
    """The number of matching requests that still get a correct response."""
    status: int = 0
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    cut: bool = False
    """The response is cut off in its middle."""
    mute: bool = False
    """There is never a response."""
    done: bool = False
    """The work is done, and only the response is broken."""
    held: threading.Event | None = None
    """Nothing is done until it is set. Then the request succeeds."""


@dataclass
class Auth:
    """The authentication. Without any of the three, every request is allowed. Times in seconds."""

    username: str | None = None
    password: str = ""
    client_id: str | None = None
    client_secret: str = ""
    token_seconds: float = 180
    forbidden: bool = False
    tokens: dict[str, float] = field(default_factory=dict)

    def issue(self, credentials: dict[str, Any]) -> Answer:
        if (credentials.get("client_id"), credentials.get("client_secret")) != (
            self.client_id,
            self.client_secret,
        ):
            raise Problem(401, "invalid-client", "The client id or the client secret is wrong.")
        token = uuid4().hex
        self.tokens[token] = time.monotonic() + self.token_seconds
        body = {"access_token": token, "token_type": "Bearer", "expires_in": self.token_seconds}
        return 200, body

    def require(self, header: str) -> None:
        kind, _, value = header.partition(" ")
        if self.client_id is not None:
            is_valid = kind == "Bearer" and self.tokens.get(value, 0) > time.monotonic()
        elif self.username is not None:
            expected = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            is_valid = kind == "Basic" and value == expected
        else:
            is_valid = True
        if not is_valid:
            raise Problem(401, "unauthorized", "The credentials are missing, wrong or expired.")
        if self.forbidden:
            raise Problem(403, "forbidden", "This application may not see that workspace.")


class AirbyteServer:
    """`state` holds what the API shows; `seen` is every request as `METHOD path`.

    `traffic` is what Airbyte's API documents judge when the server closes.
    """

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.auth = Auth()
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.closing = threading.Event()
        self._http = _Server(("127.0.0.1", 0), _handler_of(self))
        self.port = self._http.server_address[1]
        self.host_url = f"http://127.0.0.1:{self.port}"
        self.url = self.host_url + PREFIX
        self.state = AirbyteState(self.url)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self.state.close()
        self._http.shutdown()
        self._http.server_close()
        assert not (wrong := self.traffic.violations()), "\n".join(wrong)

    def fail(self, match: str, **how: Any) -> Fault:
        fault = Fault(match, **how)
        self.faults.append(fault)
        return fault

    def reset(self) -> None:
        """Remove faults, authentication and recorded requests. Resources stay."""
        self.faults.clear()
        self.seen.clear()
        self.auth = Auth()
        self.state.broken_tombstones = False
        self.state.is_admin = True
        self.state.modes = S3_MODES

    def calls(self, match: str) -> int:
        return sum(bool(re.fullmatch(match, line)) for line in self.seen)

    def fault_of(self, line: str) -> Fault | None:
        for fault in self.faults:
            if not re.fullmatch(fault.match, line) or not fault.times:
                continue
            if fault.after:
                fault.after -= 1
                continue
            fault.times -= 1
            return fault
        return None

    def answer(self, method: str, path: str, query: Query, body: Any, authorization: str) -> Answer:
        if path == TOKEN_PATH and method == "POST":
            return self.auth.issue(body)
        if not path.startswith("/api/"):
            raise Problem(404, "not-found", "There is no such path.")
        self.auth.require(authorization)
        if path == "/api/v1/jobs/get" and method == "POST":
            return self.state.job_info(int(body["id"]))
        if not path.startswith(f"{PREFIX}/"):
            raise Problem(404, "not-found", "There is no such path.")
        return self.state.answer(method, path.removeprefix(PREFIX), query, body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def _handler_of(airbyte: AirbyteServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            self._serve()

        do_POST = do_PATCH = do_DELETE = do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

        def _serve(self) -> None:
            url = urlsplit(self.path)
            path = url.path.rstrip("/")
            body = self._body()
            line = f"{self.command} {path.removeprefix(PREFIX)}"
            airbyte.seen.append(line)
            fault = airbyte.fault_of(line)
            if fault is not None and fault.held is not None:
                fault.held.wait(120)
                fault = None
            if fault is not None and not fault.done:
                return self._spoil(fault, 200, b"{}")
            try:
                status, content = airbyte.answer(
                    self.command, path, parse_qs(url.query), body,
                    self.headers.get("Authorization", ""),
                )  # fmt: skip
            except Problem as problem:
                status, content = problem.status, problem.document()
            if path.startswith(f"{PREFIX}/") and path != TOKEN_PATH:
                request = (self.command, path.removeprefix(PREFIX), url.query, body)
                airbyte.traffic.note(*request, status, content)
            reply = b"" if content is None else json.dumps(content).encode()
            if fault is not None:
                return self._spoil(fault, status, reply)
            return self._reply(status, reply, {})

        def _body(self) -> Any:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get_content_type() == "application/x-www-form-urlencoded":
                return {name: values[0] for name, values in parse_qs(raw.decode()).items()}
            return json.loads(raw) if raw else None

        def _spoil(self, fault: Fault, status: int, reply: bytes) -> None:
            if fault.mute:
                airbyte.closing.wait(120)
            if fault.cut or fault.mute:
                if fault.cut:
                    self._reply(status, reply[: len(reply) // 2], {}, length=len(reply) or 1)
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._reply(
                fault.status, fault.body.encode(), fault.headers, content_type=fault.content_type
            )

        def _reply(
            self,
            status: int,
            reply: bytes,
            headers: dict[str, str],
            *,
            length: int | None = None,
            content_type: str = "application/json",
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(reply) if length is None else length))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply)
            self.wfile.flush()

    return Handler


@contextmanager
def airbyte_server() -> Iterator[AirbyteServer]:
    server = AirbyteServer()
    server.start()
    try:
        yield server
    finally:
        server.close()
