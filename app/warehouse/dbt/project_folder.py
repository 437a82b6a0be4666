"""The files of the dbt project on disk, which other gateways may write, too."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from threading import Event

from app.warehouse.dbt import own_folder

MODELS = "models"
SUFFIXES = (".sql", ".yml")
CLOCK_STEP = 0.02
"""Seconds. The time of a file may be as much older than the clock says."""
BREATH_EVERY, BREATH = 20, 0.005
"""Files, and seconds of pause after them: other threads answer requests meanwhile."""


class Stopped(Exception):
    """The gateway stops before all files are written."""


class ProjectFolder:
    """Writes and removes only what changed since this process last wrote it. The first time, it
    compares every file, and removes models that it does not know."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, str] = {}
        self._is_known = False
        self._stopping = Event()

    def stop(self) -> None:
        """Make `update` raise `Stopped` from now on."""
        self._stopping.set()

    def update(self, content: Mapping[str, str], read_at: float) -> bool:
        """Make the folder hold the content, as it was at `read_at`, in seconds since the epoch.

        Return False if another gateway has written one of the files since then, so that the content
        may be older than the file. The file then stays as it is, and the content is to be read
        again. If this raises, the next call compares every file."""
        before, known = read_at - CLOCK_STEP, self._is_known
        self._is_known = False
        written = self._written if known else {}
        changed = {name: text for name, text in content.items() if written.get(name) != text}
        newer = self._each(
            changed,
            lambda folder, last, name: own_folder.write_in(folder, last, changed[name], before),
        )
        newer |= self._each(
            self._gone(content, known),
            lambda folder, last, _: own_folder.remove_in(folder, last, before),
        )
        self._written = {name: text for name, text in content.items() if name not in newer}
        # A file that should be removed, but is newer, is found by comparing all files.
        self._is_known = newer <= content.keys()
        return not newer

    def _gone(self, content: Mapping[str, str], known: bool) -> set[str]:
        if known:
            return self._written.keys() - content.keys()
        found = set(own_folder.files_below(self._folder, MODELS, SUFFIXES))
        return found - content.keys()

    def _each(self, names: Iterable[str], do: Callable[[int, str, str], bool]) -> set[str]:
        """Call `do` with the folder, the last part and the whole of each name. Return the names for
        which it returns False."""
        refused: set[str] = set()
        inside: dict[str, list[str]] = {}
        for name in names:
            inside.setdefault(str(PurePosixPath(name).parent), []).append(name)
        for parent, files in inside.items():
            with own_folder.opened(self._folder, *PurePosixPath(parent).parts) as folder:
                for name in self._unhurried(files):
                    if not do(folder, PurePosixPath(name).name, name):
                        refused.add(name)
        return refused

    def _unhurried(self, names: Iterable[str]) -> Iterator[str]:
        for number, name in enumerate(names, start=1):
            if self._stopping.is_set():
                raise Stopped
            yield name
            if number % BREATH_EVERY == 0:
                time.sleep(BREATH)
