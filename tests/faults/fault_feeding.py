"""Keeps runs of every kind going while processes die, then checks the remaining state."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.faults.fault_gateway import Gateway, problem
from tests.faults.fault_kinds import Kind, published_run_ids, run_id_of
from tests.faults.fault_lake import LakeView
from tests.patience import until

TERMINAL = {"succeeded", "failed", "cancelled"}
POLL = 0.05
END_SECONDS = 120.0
DYING_SECONDS = 10.0
"""A killed process closes its connections before its end can be seen."""
LEFTOVERS = "asgard/leftovers/"
"""The prefix of the notes on runs whose files stay until the next commit to their table."""
HISTORY = 20
"""The minimum number of commits that every target keeps."""
TRUE_CAUSES = {"lost", "engine_unreachable", "out_of_memory", "internal", "timeout"}
Body = dict[str, Any]


class Feeder:
    """Starts runs of every kind, timed so that all of them are in progress at one moment."""

    def __init__(self, kinds: list[Kind], chance: random.Random) -> None:
        self.kinds = kinds
        self._chance = chance
        self._unanswered: dict[str, int] = {}
        self.busy = 0
        """The number of 503 responses so far."""

    async def measure(self, gateway: Gateway) -> None:
        """Measure how long a run of each kind takes while runs of all other kinds are in
        progress."""
        async with asyncio.TaskGroup() as turns:
            for kind in self.kinds:
                turns.create_task(self._turn(kind, gateway, measured=True))

    @asynccontextmanager
    async def under_way(self, gateway: Gateway) -> AsyncIterator[None]:
        """Start a run of each kind, and enter when each is at a uniformly random point of its
        duration. Leave when they or the gateway have ended."""
        ages = {kind.name: self._chance.uniform(0, kind.seconds) for kind in self.kinds}
        longest = max(ages.values())
        async with asyncio.TaskGroup() as turns:
            for kind in self.kinds:
                turns.create_task(self._turn(kind, gateway, delay=longest - ages[kind.name]))
            await asyncio.sleep(longest)
            yield

    @asynccontextmanager
    async def begun(self, kind: Kind, gateway: Gateway) -> AsyncIterator[asyncio.Task[None]]:
        """Start a run of one kind, and leave when it has ended."""
        async with asyncio.TaskGroup() as turns:
            yield turns.create_task(self._turn(kind, gateway))

    async def _turn(
        self, kind: Kind, gateway: Gateway, *, delay: float = 0.0, measured: bool = False
    ) -> None:
        await asyncio.sleep(delay)
        turn = self._unanswered.get(kind.name)
        if turn is None:
            kind.turns = turn = kind.turns + 1
        self._unanswered[kind.name] = turn
        started = time.monotonic()
        try:
            run_id = await self._answered(kind, turn, gateway)
            self._unanswered.pop(kind.name)
            await self._ended(run_id, gateway)
        except httpx.TransportError as error:
            # The gateway is gone. A request without an answer is repeated at the next one.
            try:
                await until(lambda: not gateway.running, DYING_SECONDS)
            except TimeoutError:
                raise AssertionError(f"{kind.name}: no answer from a living gateway") from error
        if measured:
            kind.seconds = time.monotonic() - started

    async def _answered(self, kind: Kind, turn: int, gateway: Gateway) -> str:
        while (answer := await kind.ask(gateway.api, turn)).status_code == 503:
            await self._wait_for(answer)
        assert answer.status_code in {200, 202}, f"{kind.key(turn)}: {answer.text}"
        return run_id_of(answer)

    async def _ended(self, run_id: str, gateway: Gateway) -> Body:
        while True:
            answer = await gateway.api.get(f"/runs/{run_id}")
            if answer.status_code == 503:
                await self._wait_for(answer)
                continue
            assert answer.status_code == 200, f"run {run_id}: {answer.text}"
            run: Body = answer.json()
            if run["state"] in TERMINAL:
                return run
            await asyncio.sleep(POLL)

    async def _wait_for(self, answer: httpx.Response) -> None:
        assert problem(answer)
        assert int(answer.headers["retry-after"]) >= 0
        self.busy += 1
        await asyncio.sleep(0.1)


async def _patiently(gateway: Gateway, params: Body) -> httpx.Response:
    """Retry, because the lakehouse may be restarting."""
    patience = time.monotonic() + END_SECONDS
    while (answer := await gateway.api.get("/runs", params=params)).status_code != 200:
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < patience, answer.text
        await asyncio.sleep(POLL)
    return answer


async def all_runs(gateway: Gateway, **filters: Any) -> list[Body]:
    runs: list[Body] = []
    cursor = None
    while True:
        params = {**filters, "page_size": 100, **({"cursor": cursor} if cursor else {})}
        answer = await _patiently(gateway, params)
        page = answer.json()
        runs += page["runs"]
        if (cursor := page["next_cursor"]) is None:
            return runs


async def ended_runs(gateway: Gateway, **filters: Any) -> list[Body]:
    """Return all runs, once all have ended."""
    patience = time.monotonic() + END_SECONDS
    while True:
        runs = await all_runs(gateway, **filters)
        if not (going_on := [run for run in runs if run["state"] not in TERMINAL]):
            return runs
        assert time.monotonic() < patience, f"runs do not end: {going_on}"
        await asyncio.sleep(POLL)


async def hold_to_truth(gateway: Gateway, kinds: list[Kind], lake: LakeView) -> None:
    """Check that every run has ended, targets have the outputs of the succeeded ones, and nothing
    is left over."""
    runs = await ended_runs(gateway)
    assert len({run["run_id"] for run in runs}) == len(runs)
    for kind in kinds:
        own = [run for run in runs if run["target"] == kind.target]
        await asyncio.to_thread(_hold_kind, kind, own, lake)
    failed = {run["run_id"] for run in runs if run["state"] != "succeeded"}
    await eventually(lambda: _left_over(lake, gateway.home, kinds, failed))


def _hold_kind(kind: Kind, runs: list[Body], lake: LakeView) -> None:
    keys = [run["idempotency_key"] for run in runs]
    assert len(set(keys)) == len(keys), f"a key made two runs: {sorted(keys)}"
    succeeded = {run["run_id"]: run for run in runs if run["state"] == "succeeded"}
    failed = [run for run in runs if run["state"] != "succeeded"]
    for run in failed:
        assert run["failure"]["cause"] in TRUE_CAUSES, run
    kind.failures.clear()
    kind.failures.update(run["failure"]["cause"] for run in failed)
    # Old snapshots expire, so one that was seen once may be missing later.
    shown = published_run_ids(lake, kind)
    assert len(set(shown)) == len(shown), f"{kind.name}: a run has two snapshots"
    assert set(shown) <= set(succeeded), f"{kind.name}: {set(shown) - set(succeeded)} published"
    new = [run_id for run_id in shown if run_id not in set(kind.published)]
    if len(shown) >= HISTORY and new and new[0] == shown[0]:
        # More commits happened since the last check than the target's history keeps.
        kind.published += _earlier(succeeded[new[0]], succeeded, kind.published)
    kind.published += new
    lost = set(succeeded) - set(kind.published)
    assert not lost, f"{kind.name}: {lost} succeeded without a snapshot"
    kind.succeeded = [
        int(succeeded[run_id]["idempotency_key"].rpartition("-")[2]) for run_id in kind.published
    ]
    if kind.succeeded:
        kind.check(lake, kind)


def _earlier(run: Body, succeeded: dict[str, Body], known: list[str]) -> list[str]:
    earlier = [r for r in succeeded.values() if r["finished_at"] < run["started_at"]]
    in_order = sorted(earlier, key=lambda r: str(r["finished_at"]))
    return [r["run_id"] for r in in_order if r["run_id"] not in known]


def _left_over(lake: LakeView, home: Path, kinds: list[Kind], failed: set[str]) -> list[str]:
    left = [f"asgard_staging.{name}" for name in lake.tables("asgard_staging")]
    left += lake.keys("asgard/locks/")
    left += [str(path) for path in (home / "spool").iterdir()]
    left += [str(path) for path in home.rglob("*.new")]
    failed = failed - {key.rpartition("/")[2] for key in lake.keys(LEFTOVERS)}
    for kind in kinds:
        if kind.published and not kind.target.startswith("ingestion/"):
            files = lake.table_files(kind.target)
            left += [key for key in files if any(run_id in key for run_id in failed)]
    return left


async def eventually(left: Callable[[], list[str]], seconds: float = 5.0) -> None:
    """Wait until nothing is left, checking in a thread."""
    patience = time.monotonic() + seconds
    while remaining := await asyncio.to_thread(left):
        assert time.monotonic() < patience, f"left over: {remaining}"
        await asyncio.sleep(POLL)
