"""As much of Trino's REST protocol as makes a schema, on a real port."""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Trino:
    """Runs a statement when it has been polled twice. `failing` are the statuses of the next
    polls; `refusal` is what it says of every statement."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.failing: list[int] = []
        self.refusal: str | None = None
        self.authorization: str | None = None
        self.own_address = "http://trino-0.inside:8080"
        self.made: list[str] = []
        self.users: set[str] = set()
        self._open: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: str) -> tuple[int, dict[str, Any]]:
        if path == "/v1/info":
            return 200, {"starting": False}
        if method == "POST":
            query = f"q{len(self._open)}"
            self._open[query] = body
            return 200, self._page(query, 1)
        if self.failing:
            return self.failing.pop(0), {}
        query, page = path.split("/")[-2:]
        if page == "1":
            return 200, self._page(query, 2)
        if self.refusal:
            error = {"message": self.refusal, "errorCode": 1, "errorName": "SOME"}
            return 200, {"id": query, "stats": {"state": "FAILED"}, "error": error}
        self.made.append(self._open[query])
        return 200, {"id": query, "stats": {"state": "FINISHED"}, "updateType": "CREATE SCHEMA"}

    def _page(self, query: str, page: int) -> dict[str, Any]:
        uri = f"{self.own_address}/v1/statement/queued/{query}/{page}"
        return {"id": query, "nextUri": uri, "stats": {"state": "QUEUED"}}

    def _handler(trino) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                if trino.authorization not in (None, self.headers.get("Authorization")):
                    status, found = 401, {}
                else:
                    trino.users.add(self.headers["X-Trino-User"])
                    status, found = trino.answer(self.command, self.path, body)
                content = json.dumps(found, separators=(",", ":")).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler
