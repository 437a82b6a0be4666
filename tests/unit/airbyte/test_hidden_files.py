"""File sources read no hidden files: these often hold secrets."""

from pathlib import Path

import pytest

from app.airbyte.local.files.paths import local_path
from app.errors import PathRefused


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / ".home" / "data"
    for name in (".env", ".ssh/id", "plain/rows.csv", "plain/.hidden/rows.csv"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("SECRET=x\n")
    (root / "link.csv").symlink_to(root / ".env")
    return root


@pytest.mark.parametrize(
    "url", [".env", ".ssh/id", "plain/../.env", "plain/.hidden/rows.csv", "link.csv"]
)
def test_hidden_files_are_refused(root: Path, url: str) -> None:
    with pytest.raises(PathRefused, match="hidden"):
        local_path(url, [root], root.parent)


def test_a_root_itself_may_be_in_a_hidden_folder(root: Path) -> None:
    expected = root / "plain" / "rows.csv"
    assert local_path("plain/rows.csv", [root], root.parent) == expected
    hidden = root / "plain" / ".hidden"
    assert local_path(str(hidden / "rows.csv"), [root, hidden], root.parent) == hidden / "rows.csv"
