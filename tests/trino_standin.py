"""As much of Trino's REST protocol as makes a schema, on a real port."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.http_server import Asked, serving


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
        self._serving = ExitStack()
        self.port = self._serving.enter_context(serving(self._answer, certificate))

    def close(self) -> None:
        self._serving.close()

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
        stats = {"state": "FINISHED"}
        done = {"id": query, "stats": stats, "infoUri": "", "updateType": "CREATE SCHEMA"}
        return 200, done

    def _page(self, query: str, page: int) -> dict[str, Any]:
        uri = f"{self.own_address}/v1/statement/queued/{query}/{page}"
        return {"id": query, "nextUri": uri, "infoUri": "", "stats": {"state": "QUEUED"}}

    def _answer(self, asked: Asked) -> tuple[int, dict[str, Any]]:
        if self.authorization not in (None, asked.headers["Authorization"]):
            return 401, {}
        self.users.add(asked.headers["X-Trino-User"])
        return self.answer(asked.method, asked.path, asked.body.decode())
