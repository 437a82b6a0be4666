"""Readiness and doctor notice a volume or an index that the embedded lake has lost."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.errors import EngineUnreachable
from app.lakehouse.embedded.lakehouse import EmbeddedLakehouse, embedded_lakehouse
from app.lakehouse.storage_probe import StorageProbe
from app.main import create_app
from tests.patience import until
from tests.weed_shell import shell


@asynccontextmanager
async def opened(home: Path) -> AsyncIterator[EmbeddedLakehouse]:
    async with embedded_lakehouse(Settings(_env_file=None, asgard_home=home)) as lakehouse:
        yield lakehouse


async def fault(lakehouse: EmbeddedLakehouse) -> str | None:
    """Return the cause that one round of a new probe finds."""
    probe = StorageProbe(lakehouse.probed, lakehouse.proofs)
    try:
        await probe.check()
    except EngineUnreachable as error:
        return error.detail
    finally:
        await probe.close()
    return None


def filled_volumes(home: Path) -> list[Path]:
    found = sorted(home.glob("seaweedfs/lake_*.idx"))
    return [path.with_suffix("") for path in found if path.stat().st_size]


async def two_volumes(lakehouse: EmbeddedLakehouse, home: Path) -> list[Path]:
    """Fill two volumes of the bucket and return their files without suffixes."""
    await shell(home, "volume.grow -collection=lake -count=1")

    async def filled() -> list[Path]:
        await lakehouse.store.put("bronze/file", b"some bytes")
        volumes = filled_volumes(home)
        return volumes if len(volumes) > 1 else []

    return await until(filled)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda volume: volume.with_suffix(".dat").unlink(), "{}.dat is missing"),
        (lambda volume: volume.with_suffix(".idx").unlink(), "{}.idx is missing"),
    ],
    ids=["data", "index"],
)
async def test_each_volume_of_a_running_lake_is_checked(tmp_path, harm, said):
    async with opened(tmp_path) as lakehouse:
        volumes = await two_volumes(lakehouse, tmp_path)
        assert await fault(lakehouse) is None
        harm(volumes[0])
        expected = f"the embedded lake has lost data: {said.format(volumes[0].name)}"
        assert (await fault(lakehouse) or "").startswith(expected)
        # The other volume works: without a check of each, one object would prove nothing.
        await lakehouse.store.put("bronze/later", b"more bytes")


async def test_a_truncated_volume_is_a_loss(tmp_path):
    async with opened(tmp_path) as lakehouse:
        assert await fault(lakehouse) is None
        with (tmp_path / "seaweedfs/lake_1.dat").open("r+b") as file:
            file.truncate(8)
        [proof] = lakehouse.proofs
        too_short = r"lake_1\.dat has 8 bytes, expected at least \d+"
        with pytest.raises(EngineUnreachable, match=too_short):
            await proof()


async def test_a_volume_that_an_administrator_deletes_is_a_loss(tmp_path):
    async with opened(tmp_path) as lakehouse:
        volumes = await two_volumes(lakehouse, tmp_path)
        assert await fault(lakehouse) is None
        node = f"127.0.0.1:{lakehouse._shared.ports['volume.port']}"
        grpc = lakehouse._shared.ports["volume.port.grpc"]
        name = volumes[0].name
        said = await shell(
            tmp_path, f"volume.delete -node={node}.{grpc} -volumeId={name.partition('_')[2]}"
        )
        assert not volumes[0].with_suffix(".dat").exists(), said
        assert f"volume {name} is missing" in (await fault(lakehouse) or "")


async def test_readiness_shows_an_index_deleted_under_a_running_gateway(tmp_path, monkeypatch):
    often = partial(StorageProbe, every=0.2)
    monkeypatch.setattr("app.context.foundation.StorageProbe", often)
    app = create_app(Settings(_env_file=None, asgard_home=tmp_path))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")

    async def ready(status: str) -> dict | None:
        answer = (await client.get("/health/ready")).json()
        return answer if answer["status"] == status else None

    async with app.router.lifespan_context(app), client:
        await until(lambda: ready("ready"), 30)
        shutil.rmtree(tmp_path / "seaweedfs/filerldb2")
        cause = (await until(lambda: ready("degraded"), 30))["dependencies"]["s3"]["cause"]
        assert "filerldb2/00/CURRENT of the index is missing" in cause


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("filerldb2", "an object stored earlier in bucket lake cannot be read: asgard/health"),
        ("warehouse_*", "the embedded lake has lost data: volume warehouse_2 is missing"),
    ],
)
async def test_a_new_start_does_not_hide_a_loss(tmp_path, lost, said):
    async with opened(tmp_path) as lakehouse:
        assert await fault(lakehouse) is None
        await lakehouse.store.put("asgard/other", b"bytes")
        assert await fault(lakehouse) is None
    for path in (tmp_path / "seaweedfs").glob(lost):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    async with opened(tmp_path) as lakehouse:
        assert (await fault(lakehouse) or "").startswith(said)


async def test_what_seaweedfs_does_by_itself_is_not_a_loss(tmp_path):
    async with opened(tmp_path) as lakehouse:
        volumes = await two_volumes(lakehouse, tmp_path)
        assert await fault(lakehouse) is None
        for number in range(20):
            await lakehouse.store.put(f"bronze/{number}", bytes(10_000))
        assert await fault(lakehouse) is None
        await lakehouse.store.delete_many(f"bronze/{number}" for number in range(20))
        before = sum(volume.with_suffix(".dat").stat().st_size for volume in volumes)

        async def vacuumed() -> bool:
            await shell(tmp_path, "volume.vacuum -collection=lake -garbageThreshold=0.01")
            return sum(volume.with_suffix(".dat").stat().st_size for volume in volumes) < before

        await until(vacuumed, 60)
        assert await fault(lakehouse) is None
        await shell(tmp_path, "volume.grow -collection=spare -count=1")
        assert await fault(lakehouse) is None
        said = await shell(tmp_path, "collection.delete -collection=spare -apply")
        assert "collection spare is deleted" in said
        assert await fault(lakehouse) is None
    async with opened(tmp_path) as lakehouse:
        assert await fault(lakehouse) is None
