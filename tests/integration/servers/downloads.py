"""What the integration stage fetches, once: from Maven and PyPI, by sum, into a cache."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FETCH_SECONDS = 900


def cache() -> Path:
    folder = Path(os.environ.get("ASGARD_IT_CACHE") or Path.home() / ".cache" / "asgard-it")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class MavenArtifact:
    """`coordinate` is `group:name:version:type[:classifier]`."""

    coordinate: str
    sha256: str

    @property
    def file_name(self) -> str:
        _, name, version, kind, *classifier = self.coordinate.split(":")
        return "-".join((name, version, *classifier)) + f".{kind}"

    @property
    def path(self) -> Path:
        """Fetched when it is not in the cache yet."""
        return _fetched(self.file_name, self.sha256, self._fetch)

    def _fetch(self, folder: Path) -> None:
        command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={self.coordinate}"]
        _run([*command, f"-DoutputDirectory={folder}"])


@dataclass(frozen=True)
class Wheel:
    requirement: str
    file_name: str
    sha256: str

    @property
    def path(self) -> Path:
        return _fetched(self.file_name, self.sha256, self._fetch)

    def _fetch(self, folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        _run([*pip, "-d", str(folder), self.requirement])


def unpacked(name: str, fill: Callable[[Path], None]) -> Path:
    """The folder of that name in the cache, filled once, whole or not at all."""
    folder = cache() / name
    with _locked(name):
        if not folder.exists():
            print(f"unpacking {name}", flush=True)
            temporary = folder.with_name(f"{name}.{os.getpid()}.part")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            fill(temporary)
            temporary.rename(folder)
    return folder


def untar(archive: Path, folder: Path) -> None:
    """Without the one folder that everything in it lies in."""
    _run(["tar", "-xzf", str(archive), "--strip-components=1", "-C", str(folder)])


def unzip(archive: Path, folder: Path, strip: bool = False) -> None:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            name = info.filename.partition("/")[2] if strip else info.filename
            if not name or info.is_dir():
                continue
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with file.open(info) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            if mode := info.external_attr >> 16:
                target.chmod(mode & 0o777 | 0o600)


def _fetched(name: str, sha256: str, fetch: Callable[[Path], None]) -> Path:
    path = cache() / "downloads" / name
    path.parent.mkdir(exist_ok=True)
    with _locked(name):
        if path.exists() and _sum(path) == sha256:
            return path
        print(f"fetching {name}", flush=True)
        folder = path.with_name(f"{name}.{os.getpid()}.part")
        folder.mkdir()
        try:
            fetch(folder)
            found = _sum(folder / name)
            if found != sha256:
                raise RuntimeError(f"{name} has the sum {found}, not {sha256}")
            (folder / name).replace(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return path


@contextmanager
def _locked(name: str) -> Iterator[None]:
    locks = cache() / "locks"
    locks.mkdir(exist_ok=True)
    with (locks / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {(done.stdout + done.stderr)[-2000:]}")
