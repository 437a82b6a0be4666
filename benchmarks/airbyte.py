"""Listing what Airbyte has, through the gateway and by Airbyte's own SDK: the same pages."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
from airbyte_api import AirbyteAPI, api

from benchmarks.gateway import gateway
from benchmarks.measures import Row
from tests.integration.servers.airbyte import airbyte_server

SOURCES = 2000
PAGE = 100
ROUNDS = 7


def list_of_sources() -> Row:
    with (
        tempfile.TemporaryDirectory(prefix="asgard-bench-") as home,
        _airbyte() as url,
        gateway(Path(home), AIRBYTE_BASE_URL=url, ASGARD_EMBEDDED="spark,sql,lake") as running,
    ):
        sdk, raw = AirbyteAPI(server_url=url), httpx.Client(base_url=url)
        ours, theirs, plain = _alternating(
            lambda: int(running.get("/airbyte/datasource")["total"]),
            lambda: _by_sdk(sdk),
            lambda: _by_http(raw),
        )
    return Row(
        f"Airbyte: list of {SOURCES:,} sources",
        f"{ours * 1000:.0f} ms",
        f"its SDK {theirs * 1000:.0f} ms (bare HTTP {plain * 1000:.0f} ms)",
        "≤ 1.1×",
        ours <= 1.1 * theirs,
    )


def _alternating(*ways: Callable[[], int]) -> list[float]:
    """The best time of each, taken in turns: what else the machine does falls on all alike."""
    best = [float("inf")] * len(ways)
    for _ in range(ROUNDS):
        for number, way in enumerate(ways):
            started = time.perf_counter()
            found = way()
            best[number] = min(best[number], time.perf_counter() - started)
            if found != SOURCES:
                raise RuntimeError(f"{found} sources were listed, not {SOURCES}")
    return best


def _by_sdk(sdk: AirbyteAPI) -> int:
    found: set[str] = set()
    while True:
        request = api.ListSourcesRequest(limit=PAGE, offset=len(found))
        page = sdk.sources.list_sources(request=request).sources_response
        if page is None:
            raise RuntimeError("the SDK got no page")
        found.update(source.source_id for source in page.data)
        if not page.next:
            return len(found)


def _by_http(client: httpx.Client) -> int:
    found = 0
    while True:
        page = client.get("/sources", params={"limit": PAGE, "offset": found}).json()
        found += len(page["data"])
        if not page["next"]:
            return found


@contextmanager
def _airbyte() -> Iterator[str]:
    """In a process of its own, so that it takes no time from who reads from it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("end")
        process.join(30)


def _serve(pipe: Connection) -> None:
    with airbyte_server() as server:
        for number in range(SOURCES):
            config = {"host": "db", "port": 5432, "database": "shop", "username": "reader"}
            server.state.answer(
                "POST",
                "/sources",
                {},
                {
                    "name": f"source {number}",
                    "workspaceId": server.state.workspace,
                    "configuration": {**config, "sourceType": "postgres", "password": "s3cret"},
                },
            )
        pipe.send(server.url)
        pipe.recv()


if __name__ == "__main__":
    print(list_of_sources())
