"""The files of the dbt project on disk, which other gateways may write, too."""

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from threading import Event

from app.files import FileLock
from app.warehouse.dbt import own_folder

MODELS = "models"
SUFFIXES = (".sql", ".yml")
GENERATION = ".generation"
"""The file with the id of the last update. It changes before the first file of an update does."""
BREATH_EVERY, BREATH = 20, 0.005
"""Files, and seconds of pause after them: other threads answer requests meanwhile."""
LOCK_PAUSE = 0.2


class Stopped(Exception):
    """The gateway stops before all files are written."""


class ProjectFolder:
    """Writes and removes only what changed since the last update, if that was this process's own.
    Otherwise it compares every file, and removes models that it does not know."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, str] = {}
        self._own_generation: str | None = None
        self._stopping = Event()

    def stop(self) -> None:
        """Make `update` raise `Stopped` from now on."""
        self._stopping.set()

    def lock(self, path: Path) -> FileLock:
        """Wait for the file's lock, which another gateway may hold for long. Raises `Stopped`."""
        lock = FileLock(path)
        while not lock.try_exclusive():
            try:
                self._pause(LOCK_PAUSE)
            except Stopped:
                lock.close()
                raise
        return lock

    def generation(self) -> str:
        """Return the id of the last update, by whichever gateway."""
        return (own_folder.read_file(self._folder, GENERATION) or b"").decode("utf-8", "replace")

    def update(self, content: Mapping[str, str], generation: str) -> bool:
        """Make the folder hold the content. The caller holds its lock.

        `generation` is that from before the content was read. Return False, and change nothing, if
        there has been an update since: it may have written newer content. If this raises, the next
        call compares every file."""
        if self.generation() != generation:
            return False
        known, self._own_generation = self._own_generation == generation, None
        written = self._written if known else {}
        changed = {name: text for name, text in content.items() if written.get(name) != text}
        gone = self._gone(content, known)
        if changed or gone:
            generation = uuid.uuid4().hex
            own_folder.write_file(self._folder, GENERATION, generation)
        for folder, last, name in self._opened(changed):
            own_folder.write_in(folder, last, changed[name])
        for folder, last, _ in self._opened(gone):
            with suppress(FileNotFoundError):
                os.unlink(last, dir_fd=folder)
        self._written, self._own_generation = dict(content), generation
        return True

    def _gone(self, content: Mapping[str, str], known: bool) -> set[str]:
        if known:
            return self._written.keys() - content.keys()
        found = set(own_folder.files_below(self._folder, MODELS, SUFFIXES))
        return found - content.keys()

    def _opened(self, names: Iterable[str]) -> Iterator[tuple[int, str, str]]:
        """Yield the folder, the last part and the whole of each name."""
        inside: dict[str, list[str]] = {}
        for name in names:
            inside.setdefault(str(PurePosixPath(name).parent), []).append(name)
        for parent, files in inside.items():
            with own_folder.opened(self._folder, *PurePosixPath(parent).parts) as folder:
                for name in self._unhurried(files):
                    yield folder, PurePosixPath(name).name, name

    def _unhurried(self, names: Iterable[str]) -> Iterator[str]:
        for number, name in enumerate(names, start=1):
            self._pause(BREATH if number % BREATH_EVERY == 0 else 0)
            yield name

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(seconds) if seconds else self._stopping.is_set():
            raise Stopped
