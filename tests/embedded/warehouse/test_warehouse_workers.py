"""Several SQL engines may keep the folders of their workers in one home."""

import os
from pathlib import Path

from app.warehouse.workers import WorkerKind, Workers
from tests.conftest import Lakehouse


async def test_closing_workers_leaves_the_folders_of_other_workers(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    def folders() -> set[Path]:
        return set((tmp_path / "warehouse").iterdir())

    # As one that was killed in a container leaves it: started again, it has the same id.
    (tmp_path / "warehouse" / f"{os.getpid()}-12-abandoned").mkdir(parents=True)
    lake = lakehouse.lake
    handshake = {"lake": lake.to_json()}
    kind = WorkerKind("app.warehouse.duckdb.planner", "builder", handshake, lake.hosts)
    one, other = (Workers(tmp_path, builder=kind, builders=1) for _ in range(2))
    async with one.builder():
        [folder] = folders()
        async with other.builder():
            assert len(folders()) == 2
        await other.close()
        assert folders() == {folder}
    await one.close()
    assert folders() == set()
