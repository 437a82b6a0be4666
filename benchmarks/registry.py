"""`python -m benchmarks.registry [N …]`: data products at each size of the registry, asked of two
gateways on one lakehouse."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx

from benchmarks import document, registry_rows
from benchmarks.gateway import Gateway, gateway

SIZES = (0, 1_000, 10_000, 100_000)
WRITERS = 32
WRITING = 15.0
"""Seconds for which the writers write."""
WARMING = 10.0
PRODUCTS = "/data-products/"
INTRODUCTION = (
    "Measured by `.venv/bin/python -m benchmarks.registry`, with two gateways on one embedded",
    "lakehouse. Reads go to one of them, after other requests have created its workers. The",
    f"clients share the cores with all of it. Half of the {WRITERS} writers use each gateway.",
)
TARGETS = (
    "Targets: a GET takes at most 12 ms (p50) and 60 ms (p99) alone, 25 ms and 150 ms beside the",
    "writers. The first page takes at most 30 ms, of one owner 40 ms, by text 80 ms. A create",
    f"takes at most 1.5 times a bare append by pyiceberg. {WRITERS} writers create at least 100 a",
    "second, with a p99 of at most 2 s. A start takes at most 3 s, and a gateway 600 MB.",
)
HEADING = "## The registry of data products"


@dataclass(frozen=True)
class Latencies:
    """Seconds, sorted."""

    seconds: Sequence[float]

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latencies":
        return cls(sorted(seconds))

    def quantile(self, part: float) -> float:
        return self.seconds[min(len(self.seconds) - 1, int(part * len(self.seconds)))]

    @property
    def text(self) -> str:
        return f"{_ms(self.quantile(0.5))} / {_ms(self.quantile(0.99))}"


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    columns = {size: measure(size) for size in sizes}
    document.write_section(HEADING, _page(columns))


def measure(products: int) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="asgard-bench-") as folder:
        home = Path(folder)
        asyncio.run(registry_rows.write_products(home, products))
        with gateway(home, WARM_WORKERS="false"):
            pass  # the disk is warm from here on
        with (
            gateway(home, WARM_WORKERS="false") as first,
            gateway(home, WARM_WORKERS="false") as second,
        ):
            found = asyncio.run(_ask(home, first, second))
            found["memory of a gateway"] = f"{first.memory() / 2**20:.0f} MB"
            found["start"] = f"{first.ready_seconds:.1f} s"
    for what, value in found.items():
        print(f"{products:>7,}  {what:<48} {value}", flush=True)
    return found


async def _ask(home: Path, first: Gateway, second: Gateway) -> dict[str, str]:
    found: dict[str, str] = {}
    limits = httpx.Limits(max_connections=WRITERS, max_keepalive_connections=WRITERS)
    async with (
        httpx.AsyncClient(base_url=first.client.base_url, timeout=120, limits=limits) as one,
        httpx.AsyncClient(base_url=second.client.base_url, timeout=120, limits=limits) as other,
    ):
        names = count()
        made = (await _create(one, next(names))).json()["id"]
        # Starts the workers.
        await asyncio.gather(*(_create(client, next(names)) for client in (one, other) * 16))
        await asyncio.sleep(WARMING)
        get = f"{PRODUCTS}{made}"
        found["GET by id, p50 / p99"] = (await _times(200, lambda: one.get(get))).text
        found["first page"] = await _list(one, {})
        found["first page, of one owner"] = await _list(one, {"owner": "owner 3"})
        found["first page, by text"] = await _list(one, {"search": "Product 7"})
        found["first page, by status"] = await _list(one, {"status": "created"})
        found["GET by name"] = await _list(one, {}, f"{PRODUCTS}Bench 0")
        alone = await _times(30, lambda: _create(one, next(names)))
        appends = Latencies.of(await registry_rows.bare_appends(home, 30))
        found["create, one client, p50"] = (
            f"{_ms(alone.quantile(0.5))} (a bare append {_ms(appends.quantile(0.5))})"
        )
        async with _stalls(one) as stalls:
            created, reads = await _write_together((one, other), names, get)
        found[f"creates a second, {WRITERS} clients"] = f"{len(created.seconds) / WRITING:.0f}"
        found["their p50 / p99"] = created.text
        found["GET by id beside them, p50 / p99"] = reads.text
        found["longest answer of /health beside them"] = _ms(max(stalls))
    return found


async def _write_together(
    clients: Sequence[httpx.AsyncClient], names: Iterator[int], get: str
) -> tuple[Latencies, Latencies]:
    until = time.perf_counter() + WRITING
    created: list[float] = []
    reads: list[float] = []

    async def write(client: httpx.AsyncClient) -> None:
        while time.perf_counter() < until:
            created.append(await _timed(lambda: _create(client, next(names))))

    async def read() -> None:
        while time.perf_counter() < until:
            reads.append(await _timed(lambda: clients[0].get(get)))

    writers = [write(clients[number % len(clients)]) for number in range(WRITERS)]
    await asyncio.gather(read(), *writers)
    return Latencies.of(created), Latencies.of(reads)


async def _create(client: httpx.AsyncClient, number: int) -> httpx.Response:
    body = {
        "name": f"Bench {number}",
        "description": "measured",
        "data_product_type": "CUSTOM",
        "owner": "bench",
        "update_frequency": "daily",
        "sql_query": registry_rows.SQL,
    }
    return (await client.post(PRODUCTS, json=body)).raise_for_status()


async def _list(client: httpx.AsyncClient, params: dict[str, str], path: str = PRODUCTS) -> str:
    times = await _times(20, lambda: client.get(path, params=params))
    return _ms(times.quantile(0.5))


async def _times(number: int, ask: Callable[[], Awaitable[httpx.Response]]) -> Latencies:
    await ask()
    return Latencies.of([await _timed(ask) for _ in range(number)])


async def _timed(ask: Callable[[], Awaitable[httpx.Response]]) -> float:
    started = time.perf_counter()
    (await ask()).raise_for_status()
    return time.perf_counter() - started


@asynccontextmanager
async def _stalls(client: httpx.AsyncClient) -> AsyncIterator[list[float]]:
    """The seconds of each `/health`, which does nothing: it waits for the event loop alone."""
    seconds: list[float] = []
    health = client.base_url.copy_with(path="/health")

    async def watch() -> None:
        while True:
            seconds.append(await _timed(lambda: client.get(health)))

    watching = asyncio.create_task(watch())
    try:
        yield seconds
    finally:
        watching.cancel()


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"


def _page(columns: dict[int, dict[str, str]]) -> list[str]:
    sizes = list(columns)
    lines = ["| | " + " | ".join(f"{size:,} products" for size in sizes) + " |"]
    lines.append("|---" * (len(sizes) + 1) + "|")
    for what in columns[sizes[0]]:
        lines.append(f"| {what} | " + " | ".join(columns[size][what] for size in sizes) + " |")
    return ["", *INTRODUCTION, "", *lines, "", *TARGETS]


if __name__ == "__main__":
    main()
