"""Frees the raw body of a request before its endpoint runs. The endpoint may wait for minutes, and
needs only the parsed body."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

PRESENT = b"{}"


class BriefRequest(Request):
    """A request whose raw body only `raw` returns. The framework keeps what `body` returns until
    the endpoint has returned, but needs to know only whether there is a body."""

    async def body(self) -> bytes:
        return PRESENT if await super().body() else b""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = json.loads(await super().body())
        return self._json

    async def raw(self) -> bytes:
        return await super().body()

    def free(self) -> None:
        """Let go of the raw body. To read it again is an error."""
        if hasattr(self, "_body"):
            del self._body


class BriefRoute(APIRoute):
    """A route whose endpoint runs without the raw body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def briefly(request: Request) -> Response:
            return await handle(BriefRequest(request.scope, request.receive))

        return briefly


async def raw_body(request: Request) -> bytes:
    return await (request.raw() if isinstance(request, BriefRequest) else request.body())


def free_raw_body(request: Request) -> None:
    if isinstance(request, BriefRequest):
        request.free()
