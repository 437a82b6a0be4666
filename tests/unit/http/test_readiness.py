"""Anyone may request readiness: callers share one round of checks, and causes are safe texts."""

import asyncio
import time

import pytest
import structlog

from app.edge.health import DENIED, FAILED, SLOW, UNREACHABLE, Rounds, probe
from app.errors import EngineFailed, EngineTimeout, EngineUnreachable
from app.failure import FailureCause
from app.lakehouse.connection import S3Connection
from app.lakehouse.storage import ObjectStore
from app.lakehouse.storage_probe import ProbeObject, StorageProbe


async def test_concurrent_and_slightly_later_callers_share_a_round(monkeypatch):
    rounds, now, asked = Rounds(), 100.0, 0
    monkeypatch.setattr(time, "monotonic", lambda: now)

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


QUOTED = 'Could not connect to the endpoint URL: "http://10.0.0.7:9000/lake/asgard/health"'


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (EngineUnreachable(f"S3 cannot be reached: {QUOTED}"), UNREACHABLE),
        (EngineTimeout(f"Trino did not respond: {QUOTED}"), SLOW),
        (EngineFailed(f"S3 refused a request: {QUOTED}"), FAILED),
        (EngineFailed(QUOTED, cause=FailureCause.PERMISSION_DENIED), DENIED),
        (EngineUnreachable(f"the disk is full: {QUOTED}", public="the disk is full"), None),
        (ValueError("https://user:password@10.0.0.7/secret"), FAILED),
    ],
)
async def test_the_cause_is_one_of_asgards_own_texts(error, cause):
    async def fail() -> None:
        raise error

    with structlog.testing.capture_logs() as logged:
        assert (await probe(fail)).cause == (cause or "the disk is full")
    [line] = [line for line in logged if line["event"] == "probe_failed"]
    assert line["text"] == str(error)


async def test_a_probe_of_s3_shows_no_address():
    dead = S3Connection(
        endpoint="http://127.0.0.1:9",
        region="elsewhere",
        access_key="key",
        secret_key="secret",
        bucket="lake",
    )
    store = ObjectStore(dead)
    storage = StorageProbe([ProbeObject(store)])
    found = await probe(storage.check, budget=30)
    assert found.cause == "an object stored earlier in bucket lake cannot be read"
    await storage.close()
    await store.close()
