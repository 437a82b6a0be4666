"""Responses with lists. They are written in a thread, item by item, because they may be long."""

from collections.abc import Callable
from typing import ParamSpec

import anyio.to_thread
from fastapi import Response
from pydantic import BaseModel
from pydantic_core import to_json

P = ParamSpec("P")


async def listed(make: Callable[P, BaseModel], *args: P.args, **kwargs: P.kwargs) -> Response:
    """Return what `make` returns as a response. FastAPI itself would write it on the event loop."""

    def write() -> bytes:
        return written(make(*args, **kwargs))

    return Response(await anyio.to_thread.run_sync(write), media_type="application/json")


def written(body: BaseModel) -> bytes:
    """Return the same JSON as `model_dump_json`. Other threads run between any two items, and an
    item that is in several lists is written once."""
    items: dict[int, bytes] = {}

    def of(item: object) -> bytes:
        if id(item) not in items:
            items[id(item)] = to_json(item, by_alias=True)
        return items[id(item)]

    fields = (
        to_json(field.serialization_alias or name)
        + b":"
        + (
            b"[" + b",".join(map(of, value)) + b"]"
            if isinstance(value := getattr(body, name), list)
            else to_json(value)
        )
        for name, field in type(body).model_fields.items()
    )
    return b"{" + b",".join(fields) + b"}"
