"""No engine takes the part of the disk that the embedded lake needs."""

import pytest

from app import disk
from app.data_transformation.sail.worker import _configuration
from app.errors import EngineFailed
from app.warehouse.duckdb.session import open_session

ALL_OF_IT = 2**62
"""A reserve that no disk has."""


async def test_a_download_leaves_the_reserve_alone(lakehouse, tmp_path, monkeypatch):
    await lakehouse.store.put("bronze/large", b"x" * 1_000_000)
    target = tmp_path / "downloaded"
    assert await lakehouse.store.download("bronze/large", target)
    target.unlink()
    monkeypatch.setattr(disk, "RESERVE", ALL_OF_IT)
    with pytest.raises(EngineFailed, match="disk of the gateway is full"):
        await lakehouse.store.download("bronze/large", target)
    assert list(tmp_path.iterdir()) == []


def test_what_duckdb_spills_leaves_the_reserve_alone(lakehouse, tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "RESERVE", ALL_OF_IT)
    with open_session(lakehouse.builder_lake, tmp_path / "scratch", "64MB") as session:
        asked = "SELECT current_setting('max_temp_directory_size')"
        assert session.execute(asked).fetchall() == [("128.0 MiB",)]


def test_what_sail_spills_leaves_the_reserve_alone(lakehouse, monkeypatch):
    monkeypatch.setattr(disk, "RESERVE", ALL_OF_IT)
    configuration = _configuration(lakehouse.sail_lake, 2**28, token=None)
    assert configuration["SAIL_RUNTIME__TEMPORARY_FILES__MAX_SIZE"] == "0"
