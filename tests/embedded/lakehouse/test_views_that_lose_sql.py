"""Nessie can lose the SQL of a view that is committed. The view is then committed again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from app.errors import EngineFailed
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.tables import Column
from tests.http_server import Asked, serving

COLUMNS = [Column("n", "integer")]


@contextmanager
def losing_sql(lake: Lake, losses: int) -> Iterator[Lake]:
    """The lake with a catalog that loses the SQL of so many commits of views. The lost versions are
    marked in the real catalog, and the mark takes the SQL out of its answers."""
    url = urlsplit(lake.catalog.uri)
    left = losses

    def forward(asked: Asked) -> tuple[int, Any]:
        nonlocal left
        body = asked.body
        if asked.method == "POST" and "/views" in asked.path and left:
            left -= 1
            body = body.replace(b" AS n", f" AS n -- lost {left}".encode())
        dropped = ("host", "content-length")
        answer = httpx.request(
            asked.method,
            f"{url.scheme}://{url.netloc}{asked.path}",
            content=body,
            headers={k: v for k, v in asked.headers.items() if k.lower() not in dropped},
            timeout=30,
        )
        found = answer.json() if answer.content else None
        for version in (found or {}).get("metadata", {}).get("versions", ()):
            if any("-- lost" in shown["sql"] for shown in version["representations"]):
                version["representations"] = []
        return answer.status_code, found

    with serving(forward) as port:
        uri = f"http://127.0.0.1:{port}{url.path}"
        yield replace(lake, catalog=replace(lake.catalog, uri=uri))


@pytest.mark.parametrize("exists", [False, True])
async def test_a_view_whose_sql_is_lost_is_committed_again(lakehouse, exists):
    name = f"gold.loses_{uuid4().hex[:8]}"
    if exists:
        await lakehouse.catalog.replace_view(name, "SELECT 1 AS n", COLUMNS, {})
    with losing_sql(lakehouse.lake, 2) as lake:
        view = await Catalog(lake).replace_view(name, "SELECT 2 AS n", COLUMNS, {"a": "b"})
    assert (view.sql, view.properties["a"]) == ("SELECT 2 AS n", "b")
    assert (await lakehouse.catalog.view(name)).sql == "SELECT 2 AS n"
    await lakehouse.catalog.drop_view(name)


async def test_a_catalog_that_keeps_no_sql_fails_the_run(lakehouse):
    name = f"gold.loses_{uuid4().hex[:8]}"
    with (
        losing_sql(lakehouse.lake, 100) as lake,
        pytest.raises(EngineFailed, match="did not keep its SQL"),
    ):
        await Catalog(lake).replace_view(name, "SELECT 2 AS n", COLUMNS, {})
    await lakehouse.catalog.drop_view(name)
