"""Servers on 127.0.0.1 that answer what a function says, what nobody hopes for, or nothing."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def serving(
    answer: Callable[[Asked], tuple[int, object]], certificate: Path | None = None
) -> Iterator[int]:
    """Its port; `answer` gives a status, and what is sent as JSON."""

    def reply(asked: Asked) -> Reply:
        status, found = answer(asked)
        body = json.dumps(found, separators=(",", ":")).encode()
        return Reply(status, body, {"Content-Type": "application/json"})

    with replying(reply, certificate) as port:
        yield port


@contextmanager
def replying(reply: Callable[[Asked], Reply], certificate: Path | None = None) -> Iterator[int]:
    """Its port. With a certificate (and its key, in one file) it speaks TLS."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = reply(Asked(self.command, self.path, self.headers, body))
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(found.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def answering(
    status: int, body: bytes, content_type: str = "text/html", **headers: str
) -> Iterator[int]:
    """The port of a server that gives everybody this answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    always = Reply(status, body, {"Content-Type": content_type, **named})
    with replying(lambda _: always) as port:
        yield port


@contextmanager
def mute() -> Iterator[int]:
    """The port of a server that accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener.getsockname()[1]
