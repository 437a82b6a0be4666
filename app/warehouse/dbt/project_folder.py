"""The files of the dbt project on disk, which other gateways may write, too."""

from collections.abc import Mapping
from pathlib import Path

from app.warehouse.dbt import own_folder

MODELS = "models"
SUFFIXES = (".sql", ".yml")
CLOCK_STEP = 0.02
"""Seconds. The time of a file may be as much older than the clock says."""


class ProjectFolder:
    """Writes and removes only what changed since this process last wrote it. The first time, it
    compares every file, and removes models that it does not know."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, str] = {}
        self._is_known = False

    def update(self, content: Mapping[str, str], read_at: float) -> bool:
        """Make the folder hold the content, as it was at `read_at`, in seconds since the epoch.

        Return False if another gateway has written one of the files since then, so that the content
        may be older than the file. The file then stays as it is, and the content is to be read
        again. If this raises, the next call compares every file."""
        before, known = read_at - CLOCK_STEP, self._is_known
        self._is_known = False
        written = self._written if known else {}
        changed = {name: text for name, text in content.items() if written.get(name) != text}
        newer = {
            name
            for name, text in changed.items()
            if not own_folder.write_file(self._folder, name, text, before)
        }
        newer |= self._remove(content, before, known)
        self._written = {name: text for name, text in content.items() if name not in newer}
        # A file that should be removed, but is newer, is found by comparing all files.
        self._is_known = newer <= content.keys()
        return not newer

    def _remove(self, content: Mapping[str, str], before: float, known: bool) -> set[str]:
        """Remove what is not in the content, and return what is too new for that."""
        if known:
            gone = self._written.keys() - content.keys()
        else:
            found = own_folder.files_below(self._folder, MODELS, SUFFIXES)
            gone = set(found) - content.keys()
        return {name for name in gone if not own_folder.remove_file(self._folder, name, before)}
