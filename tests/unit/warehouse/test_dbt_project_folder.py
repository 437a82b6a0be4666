"""Several gateways keep one dbt project on disk."""

import os
import time
from pathlib import Path

import pytest

from app.warehouse.dbt.project_folder import ProjectFolder, Stopped

A, B, NOTE = "models/gold/a.sql", "models/gold/b.sql", "README.md"
OLD = time.time() - 60


def texts(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def age(folder: Path, name: str, seconds: float) -> None:
    os.utime(folder / name, (time.time() - seconds,) * 2)


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    files = ProjectFolder(tmp_path)
    assert files.update({A: "1", B: "1", NOTE: "1"}, time.time())
    for name in (A, B, NOTE):
        age(tmp_path, name, 60)
    (tmp_path / B).write_text("by hand")
    age(tmp_path, B, 60)
    assert files.update({A: "2", B: "1", NOTE: "1"}, time.time())
    assert texts(tmp_path) == {A: "2", B: "by hand", NOTE: "1"}
    age(tmp_path, A, 60)
    assert files.update({B: "1", NOTE: "1"}, time.time())
    assert texts(tmp_path) == {B: "by hand", NOTE: "1"}


def test_the_first_update_compares_all_files(tmp_path: Path) -> None:
    assert ProjectFolder(tmp_path).update({A: "1", B: "1"}, time.time())
    (tmp_path / A).write_text("by hand")
    (tmp_path / "models/mine.txt").write_text("stays")
    for name in (A, B):
        age(tmp_path, name, 60)
    assert ProjectFolder(tmp_path).update({A: "1"}, time.time())
    assert texts(tmp_path) == {A: "1", "models/mine.txt": "stays"}


@pytest.mark.parametrize("content", [{A: "older"}, {}])
@pytest.mark.parametrize("known", [True, False])
def test_what_another_gateway_wrote_since_is_not_overwritten(
    tmp_path: Path, content: dict[str, str], known: bool
) -> None:
    files = ProjectFolder(tmp_path)
    if known:
        assert files.update({A: "first"}, time.time())
        age(tmp_path, A, 60)
    assert ProjectFolder(tmp_path).update({A: "newer"}, time.time())
    assert not files.update(content, OLD)
    assert texts(tmp_path) == {A: "newer"}
    # Read again, the content has what the other gateway wrote, or is newer.
    age(tmp_path, A, 1)
    assert files.update(content, time.time())
    assert texts(tmp_path) == content


@pytest.mark.parametrize("content", [{A: "2"}, {}])
def test_a_file_of_the_future_is_written_and_removed(
    tmp_path: Path, content: dict[str, str]
) -> None:
    """The clock was set back. To wait until it has caught up would take forever."""
    files = ProjectFolder(tmp_path)
    assert files.update({A: "1"}, time.time())
    age(tmp_path, A, -3600)
    assert files.update(content, time.time())
    assert texts(tmp_path) == content


def test_all_files_are_compared_after_a_failure(tmp_path: Path) -> None:
    files = ProjectFolder(tmp_path)
    assert files.update({A: "1", B: "1"}, time.time())
    for name in (A, B):
        age(tmp_path, name, 60)
    (tmp_path / B).write_text("by hand")
    age(tmp_path, B, 60)
    (tmp_path / "models/gold/c.sql").mkdir()
    with pytest.raises(IsADirectoryError):
        files.update({A: "1", B: "1", "models/gold/c.sql": "1"}, time.time())
    assert files.update({A: "1", B: "1"}, time.time())
    assert texts(tmp_path) == {A: "1", B: "1"}


def test_a_gateway_that_stops_does_not_wait_for_all_files(tmp_path: Path) -> None:
    files = ProjectFolder(tmp_path)
    assert files.update({A: "1"}, time.time())
    files.stop()
    with pytest.raises(Stopped):
        files.update({A: "1", B: "1"}, time.time())
    assert texts(tmp_path) == {A: "1"}
