"""Readiness notices a lake that has lost objects, and one that accepts no new ones."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.doctor.lake import lake_findings
from app.errors import EngineUnreachable
from app.lakehouse.embedded.lakehouse import EmbeddedLakehouse, embedded_lakehouse
from app.lakehouse.storage import ObjectStore
from app.lakehouse.storage_probe import HEALTH_KEY, ProbeObject, StorageProbe
from app.main import create_app
from tests.conftest import Lakehouse
from tests.patience import until
from tests.weed_shell import shell

LOST = "an object stored earlier in bucket {} cannot be read"


async def delete_volumes(home: Path, *buckets: str) -> None:
    """Each bucket has its own volumes."""
    output = await shell(home, *(f"collection.delete -collection={it} -apply" for it in buckets))
    for bucket in buckets:
        assert f"collection {bucket} is deleted" in output, output


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[EmbeddedLakehouse]:
    async with embedded_lakehouse(Settings(_env_file=None, asgard_home=tmp_path)) as lakehouse:
        yield lakehouse


async def failure(probe: StorageProbe) -> str | None:
    try:
        await probe.check()
    except EngineUnreachable as error:
        return error.detail
    return None


@pytest.mark.parametrize("bucket", ["lake", "warehouse"])
async def test_readiness_shows_lost_volumes_with_the_cause(tmp_path, monkeypatch, bucket):
    often = partial(StorageProbe, every=0.2)
    monkeypatch.setattr("app.context.foundation.StorageProbe", often)
    app = create_app(Settings(_env_file=None, asgard_home=tmp_path))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")

    async def ready() -> dict:
        answer = await client.get("/health/ready")
        assert answer.status_code == 200
        return answer.json()

    async with app.router.lifespan_context(app), client:

        async def is_ready() -> bool:
            return (await ready())["status"] == "ready"

        await until(is_ready, 30)
        await delete_volumes(tmp_path, bucket)

        async def told() -> str | None:
            found = await ready()
            cause = found["dependencies"]["s3"]["cause"]
            known = bucket == "lake" and cause == LOST.format(bucket)
            is_told = known or f"volume {bucket}_" in (cause or "")
            return found["status"] if is_told else None

        assert await until(told, 30) == "degraded"


async def test_a_loss_is_still_reported_when_new_objects_are_accepted(own):
    probe = StorageProbe(own.probed, every=0)
    assert await failure(probe) is None
    await delete_volumes(own._home.path, "warehouse")

    async def lost() -> bool:
        return LOST.format("warehouse") in (await failure(probe) or "")

    await until(lost, 30)
    # SeaweedFS puts new objects into new volumes, which must not hold the probe's own object.
    tables = own.probed[1].store
    await tables.put("asgard/other/data/new.parquet", b"new")
    for _ in range(3):
        assert await lost()
    await probe.close()


async def test_the_doctor_reports_the_same_loss(own, tmp_path):
    settings = Settings(_env_file=None, asgard_home=tmp_path)
    found = {finding.what: finding for finding in await lake_findings(settings)}
    assert found["S3 keeps objects"].ok, found
    await delete_volumes(tmp_path, "warehouse")

    async def told() -> bool:
        found = {finding.what: finding for finding in await lake_findings(settings)}
        kept = found["S3 keeps objects"]
        return not kept.ok and "volume warehouse_" in kept.message

    await until(told, 60)


async def test_callers_share_one_write_within_the_interval(lakehouse: Lakehouse):
    probe = StorageProbe([ProbeObject(lakehouse.store)], every=3600)
    await probe.check()
    first = await lakehouse.store.get(HEALTH_KEY)
    await asyncio.gather(*(probe.check() for _ in range(20)))
    assert (await lakehouse.store.get(HEALTH_KEY)).body == first.body
    await probe.close()
    eager = StorageProbe([ProbeObject(lakehouse.store)], every=0)

    async def is_written_again() -> bool:
        await eager.check()
        return (await lakehouse.store.get(HEALTH_KEY)).body != first.body

    await until(is_written_again)
    await eager.close()


async def test_rounds_continue_without_requests(lakehouse: Lakehouse, monkeypatch):
    """Otherwise a volume that SeaweedFS deletes when it is empty could look like a loss."""
    monkeypatch.setattr("app.lakehouse.storage_probe.AT_LEAST_EVERY", 0.1)
    seen: set[bytes] = set()
    probe = StorageProbe([ProbeObject(lakehouse.store)], every=3600)
    probe.open()

    async def written_thrice() -> bool:
        found = await lakehouse.store.get(HEALTH_KEY)
        seen.update([found.body] if found else [])
        return len(seen) > 3

    await until(written_thrice)
    await probe.close()


async def test_a_lake_that_accepts_no_objects_is_distinguished_from_a_loss(lakehouse: Lakehouse):
    reader = ObjectStore(replace(lakehouse.builder_lake.s3, bucket="warehouse"))
    probe = StorageProbe([ProbeObject(reader, "gold/health/data/probe.parquet")])
    cause = await failure(probe)
    assert cause.startswith("bucket warehouse does not accept objects: S3 refused a request")
    assert "AccessDenied" in cause
    # The outcome stays until the next round.
    assert await failure(probe) == cause
    await probe.close()
    await reader.close()
