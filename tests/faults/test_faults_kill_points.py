"""Any process is killed at any moment: runs end correctly, nothing is doubled, lost or left
over."""

import asyncio
import contextlib
import json
import os
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from tests.faults.fault_feeding import LEFTOVERS, Feeder, all_runs, eventually, hold_to_truth
from tests.faults.fault_gateway import Gateway, running
from tests.faults.fault_kinds import REQUIREMENT, Kind, install_source, make_kinds
from tests.faults.fault_lake import LakeView

pytestmark = pytest.mark.timeout(1200)

DEATHS = os.environ.get("ASGARD_FAULT_DEATHS", "GGLLCCKK" * 10)
"""What is killed, in this order: the gateway (the second of two in a row while it recovers from the
first death), the lakehouse, a child of each other kind, or only the connector (K), which exists for
only a part of its run and ends with its worker."""
HELD_EVERY = 5
"""Deaths after which the state is checked. Earlier errors do not disappear by themselves."""
KEPT_ENDED = timedelta(seconds=30)
"""The gateway keeps the objects of ended runs for 20 s. A death in between restarts that time."""
DBT = {"dbt-table", "dbt-append", "dbt-merge", "data-product"}
SPARK = {"spark-overwrite", "spark-append"}
WORK_ON = {
    "ingestion": {"file", "connector"},
    "spark": SPARK,
    "dbt": DBT,
    "duckdb": {"dbt-table", "dbt-append", "dbt-merge"},
    "publisher": SPARK | DBT,
    "judge": SPARK | DBT,
}
"""The kinds of runs that each child works on."""
READ_SECONDS = 0.4
"""The longest lifetime of a connector's process, in seconds."""
POLL = 0.01


class Deaths:
    def __init__(self, gateway: Gateway, kinds: list[Kind], chance: random.Random) -> None:
        self.gateway = gateway
        self.kinds = kinds
        self.lake = LakeView(gateway.home)
        self.feeder = Feeder(kinds, chance)
        self._chance = chance
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)

    async def measure(self) -> None:
        """Measure the second time, when all workers are warm."""
        for _ in range(2):
            await self.feeder.measure(self.gateway)
        self.say(f"runs take { ({kind.name: round(kind.seconds, 2) for kind in self.kinds}) } s")
        for run in await all_runs(self.gateway):
            assert run["state"] == "succeeded", run

    async def hold(self) -> None:
        await hold_to_truth(self.gateway, self.kinds, self.lake)
        self.say("held to the truth")

    async def happen(self, deaths: str) -> None:
        how = {
            "G": self._of_gateway,
            "L": self._of_lakehouse,
            "C": self._of_children,
            "K": self._of_connector,
        }
        for number, death in enumerate(deaths, start=1):
            await how[death]()
            if number % HELD_EVERY == 0:
                await self.hold()
        await self.feeder.measure(self.gateway)
        await self.hold()
        # The commits of these runs delete what dead runs left.
        await eventually(lambda: self.lake.keys(LEFTOVERS))

    async def _of_gateway(self) -> None:
        async with self.feeder.under_way(self.gateway):
            await self.gateway.kill()
            self._count("gateway", self.kinds)
        await self.gateway.start()
        self.say("the gateway was killed")

    async def _of_lakehouse(self) -> None:
        async with self.feeder.under_way(self.gateway):
            await self._kill("lakehouse")
            self._count("lakehouse", self.kinds)
        self.say("the lakehouse was killed")

    async def _of_children(self) -> None:
        async with self.feeder.under_way(self.gateway):
            for child, kinds in WORK_ON.items():
                if await self._kill(child):
                    self._count(child, [kind for kind in self.kinds if kind.name in kinds])
            self._count("children", self.kinds)
        self.say("children were killed")

    async def _of_connector(self) -> None:
        """Kill the connector at a random point of its life, with as many attempts as necessary."""
        (kind,) = [kind for kind in self.kinds if kind.name == "connector"]
        killed = False
        while not killed:
            async with self.feeder.begun(kind, self.gateway) as turn:
                age = self._chance.uniform(0, READ_SECONDS)
                while not (turn.done() or killed):
                    if self.gateway.children("connector"):
                        await asyncio.sleep(age)
                        killed = await self._kill("connector")
                    await asyncio.sleep(POLL)
        self._count("connector", [kind])
        self.say("the connector was killed")

    async def _kill(self, child: str) -> bool:
        children = self.gateway.children(child)
        if not children:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            self._chance.choice(children).kill()
            return True
        return False

    def _count(self, death: str, kinds: list[Kind]) -> None:
        for kind in kinds:
            kind.points[death] += 1


async def test_runs_end_correctly_wherever_the_gateway_or_one_of_its_children_is_killed(
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("ASGARD_FAULT_SEED", random.randrange(10**6)))
    print(f"ASGARD_FAULT_SEED={seed}")
    home, data = tmp_path / "home", tmp_path / "data"
    data.mkdir()
    install_source(home)
    settings = {"INGESTION_ALLOWED_DIRS": str(data), "CONNECTORS_ALLOWED": REQUIREMENT}
    gateway = Gateway(home, env=settings)
    async with running(gateway):
        kinds = await make_kinds(gateway, data)
        deaths = Deaths(gateway, kinds, random.Random(seed))
        await deaths.measure()
        await deaths.hold()
        await deaths.happen(DEATHS)
        for kind in kinds:
            ends = {"succeeded": len(kind.succeeded), **kind.failures}
            print(f"{kind.name:16} {ends}, killed: {dict(kind.points)}")
            points = kind.points["gateway"] + kind.points["lakehouse"] + kind.points["children"]
            assert points == len(DEATHS) - DEATHS.count("K")
            assert kind.points["connector"] == (kind.name == "connector") * DEATHS.count("K")
        print(f"{deaths.feeder.busy} answers were 503")
        # The last gateway keeps runs that a killed one ended as long as its own.
        await eventually(lambda: _kept_too_long(deaths.lake), KEPT_ENDED.total_seconds())
        assert len(deaths.lake.keys("asgard/replicas/")) == 1


def _kept_too_long(lake: LakeView) -> list[str]:
    """Return objects of open runs whose runs ended some time ago."""
    now = datetime.now(UTC)
    overdue = []
    for key in lake.keys("asgard/runs/open/"):
        try:
            run = json.loads(lake.body(key))
        except lake.s3.exceptions.NoSuchKey:
            continue
        if now - datetime.fromisoformat(run["finished_at"]) > KEPT_ENDED:
            overdue.append(key)
    return overdue
