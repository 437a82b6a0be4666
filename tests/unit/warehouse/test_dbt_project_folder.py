"""Several gateways keep one dbt project on disk."""

import os
import random
import threading
from pathlib import Path

import pytest

from app.files import FileLock
from app.warehouse.dbt.project_folder import GENERATION, ProjectFolder, Stopped

A, B, NOTE = "models/gold/a.sql", "models/gold/b.sql", "README.md"


def texts(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != GENERATION
    }


def update(files: ProjectFolder, content: dict[str, str]) -> None:
    assert files.update(content, files.generation())


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    files = ProjectFolder(tmp_path)
    update(files, {A: "1", B: "1", NOTE: "1"})
    (tmp_path / B).write_text("by hand")
    update(files, {A: "2", B: "1", NOTE: "1"})
    assert texts(tmp_path) == {A: "2", B: "by hand", NOTE: "1"}
    update(files, {B: "1", NOTE: "1"})
    assert texts(tmp_path) == {B: "by hand", NOTE: "1"}


def test_the_first_update_compares_all_files(tmp_path: Path) -> None:
    update(ProjectFolder(tmp_path), {A: "1", B: "1"})
    (tmp_path / A).write_text("by hand")
    (tmp_path / "models/mine.txt").write_text("stays")
    update(ProjectFolder(tmp_path), {A: "1"})
    assert texts(tmp_path) == {A: "1", "models/mine.txt": "stays"}


@pytest.mark.parametrize("content", [{A: "older"}, {}])
def test_what_another_gateway_wrote_since_is_not_overwritten(
    tmp_path: Path, content: dict[str, str]
) -> None:
    files = ProjectFolder(tmp_path)
    update(files, {A: "first"})
    read_before = files.generation()
    update(ProjectFolder(tmp_path), {A: "newer"})
    assert not files.update(content, read_before)
    assert texts(tmp_path) == {A: "newer"}
    update(files, content)
    assert texts(tmp_path) == content


def test_two_gateways_that_take_turns_leave_what_the_last_one_wrote(tmp_path: Path) -> None:
    """Also where one of them wrote the same before, or never knew of a file."""
    chance = random.Random(7)
    gateways = [ProjectFolder(tmp_path), ProjectFolder(tmp_path)]
    for _ in range(200):
        names = chance.sample([A, B, "models/gold/c.yml"], chance.randint(0, 3))
        content = {name: chance.choice("12") for name in names}
        update(chance.choice(gateways), content)
        assert texts(tmp_path) == content


def test_nothing_to_change_is_no_update(tmp_path: Path) -> None:
    files, other = ProjectFolder(tmp_path), ProjectFolder(tmp_path)
    update(files, {A: "1"})
    before = files.generation()
    update(files, {A: "1"})
    assert files.generation() == before
    update(other, {A: "2"})
    assert files.generation() != before


@pytest.mark.parametrize("planted", ["pipe", "link", "bytes"])
def test_a_planted_generation_is_replaced(tmp_path: Path, planted: str) -> None:
    """Another user may have put it there before the folder became private."""
    folder, precious = tmp_path / "dbt", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("of the victim")
    match planted:
        case "pipe":
            os.mkfifo(folder / GENERATION)
        case "link":
            (folder / GENERATION).symlink_to(precious)
        case _:
            (folder / GENERATION).write_bytes(b"\xff")
    files = ProjectFolder(folder)
    update(files, {A: "1"})
    assert texts(folder) == {A: "1"}
    assert len(files.generation()) == 32
    assert precious.read_text() == "of the victim"


def test_all_files_are_compared_after_a_failure(tmp_path: Path) -> None:
    files = ProjectFolder(tmp_path)
    update(files, {A: "1", B: "1"})
    (tmp_path / B).write_text("by hand")
    (tmp_path / "models/gold/c.sql").mkdir()
    before = files.generation()
    with pytest.raises(IsADirectoryError):
        update(files, {A: "1", B: "1", "models/gold/c.sql": "1"})
    assert files.generation() != before  # others see that something may have changed
    update(files, {A: "1", B: "1"})
    assert texts(tmp_path) == {A: "1", B: "1"}


def test_a_gateway_that_stops_does_not_wait_for_all_files(tmp_path: Path) -> None:
    files = ProjectFolder(tmp_path)
    update(files, {A: "1"})
    files.stop()
    with pytest.raises(Stopped):
        update(files, {A: "1", B: "1"})
    assert texts(tmp_path) == {A: "1"}


def test_a_gateway_that_stops_does_not_wait_for_the_lock(tmp_path: Path) -> None:
    files, path = ProjectFolder(tmp_path), tmp_path / "lock"
    held = FileLock(path)
    assert held.try_exclusive()
    threading.Timer(0.1, files.stop).start()
    with pytest.raises(Stopped):
        files.lock(path)
    held.close()
    free = FileLock(path)
    assert free.try_exclusive()
    free.close()
