"""Anyone may request readiness: callers share one round of checks, and causes are safe texts."""

import asyncio

from app.edge import health
from app.edge.health import FAILED, Rounds, probe
from app.errors import EngineUnreachable


async def test_concurrent_and_slightly_later_callers_share_a_round(monkeypatch):
    rounds, now, asked = Rounds(), 100.0, 0
    monkeypatch.setattr(health.time, "monotonic", lambda: now)

    async def check() -> None:
        nonlocal asked
        asked += 1

    checks = {"s3": check}
    found = await asyncio.gather(*(rounds.results(checks) for _ in range(100)))
    assert asked == 1
    assert {item["s3"].status for item in found} == {"ok"}
    now += 0.5
    await rounds.results(checks)
    assert asked == 1
    now += 0.6
    await rounds.results(checks)
    assert asked == 2


async def test_a_caller_that_leaves_does_not_cancel_the_round_of_the_others():
    rounds, open_ = Rounds(), asyncio.Event()
    checks = {"s3": open_.wait}
    first = asyncio.create_task(rounds.results(checks))
    second = asyncio.create_task(rounds.results(checks))
    await asyncio.sleep(0)
    first.cancel()
    open_.set()
    assert (await second)["s3"].status == "ok"


async def test_the_cause_is_one_of_asgards_own_texts():
    async def away() -> None:
        raise EngineUnreachable("S3 cannot be reached.")

    async def broken() -> None:
        raise ValueError("https://user:password@10.0.0.7/secret")

    assert (await probe(away)).cause == "S3 cannot be reached."
    assert (await probe(broken)).cause == FAILED
