"""Measures for gauges how old the tables of the data products are: at intervals, not when a scrape
asks. While the catalog is unreachable, the last known builds count."""

import asyncio
import time
from functools import partial

import structlog

from app.data_products.record import BuildTimes, UpdateFrequency
from app.data_products.service import DataProductService
from app.errors import AsgardError
from app.runs.model import Run, RunKind
from app.telemetry.metrics import Metrics

EVERY = 30.0
log = structlog.get_logger()


class FreshnessWatch:
    def __init__(self, products: DataProductService, metrics: Metrics) -> None:
        self._products = products
        self._built = BuildTimes()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        gauges = metrics.products
        gauges.labels("fresh").set_function(lambda: self._built.fresh(time.time()))
        gauges.labels("stale").set_function(lambda: self._built.stale(time.time()))
        gauges.labels("never_built").set_function(lambda: self._built.never_built)
        for frequency in UpdateFrequency:
            gauge = metrics.oldest_product.labels(frequency.value)
            gauge.set_function(partial(self._oldest, frequency))

    def open(self) -> None:
        self._task = asyncio.create_task(self._refresh_forever(), name="freshness")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def run_ended(self, run: Run) -> None:
        if run.kind is RunKind.DATA_PRODUCT:
            self._changed.set()

    async def _refresh_forever(self) -> None:
        while True:
            self._changed.clear()
            try:
                self._built = await self._products.build_times()
            except AsgardError as error:
                log.warning("freshness_unavailable", error=error.detail)
            except Exception:
                # The outer edge of a task that must survive every error.
                log.exception("freshness_failed")
            try:
                async with asyncio.timeout(EVERY):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _oldest(self, frequency: UpdateFrequency) -> float:
        return self._built.oldest(frequency, time.time())
