"""The files of a `file` source, if they may be read. Calls block: make them in a thread."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.airbyte.file_formats import FORMAT_NAMES, FileFormat, FileKind
from app.errors import InvalidRequest, PathRefused, SourceNotFound

SETTING = "INGESTION_ALLOWED_DIRS"
SHOWN = 20


@dataclass(frozen=True)
class FileStream:
    """One file, which is one stream. `path` is local and resolved. `key` is in the bucket."""

    name: str
    label: str
    format: FileFormat
    path: Path | None = None
    key: str | None = None


@dataclass(frozen=True)
class FileChoice:
    """A source's parsed config. `format` and `dataset_name` take precedence over file names."""

    url: str
    dataset_name: str | None = None
    format: FileFormat | None = None


def local_streams(choice: FileChoice, roots: Sequence[Path], home: Path) -> list[FileStream]:
    """Returns the streams at a local path. Relative paths begin at the first root. In `home`, only
    `data` may be read.

    Raises:
        PathRefused: The path is outside the roots, also by `..` or a symbolic link.
        SourceNotFound: Nothing is there, or no data file.
    """
    raw = choice.url.removeprefix("file://")
    if "://" in raw:
        raise PathRefused(
            f"{raw} may not be read: a file source reads local files and s3:// paths of the lake.",
            setting=SETTING,
        )
    if "\0" in raw:
        raise PathRefused("A path must not contain NUL characters.")
    path = _allowed(roots[0] / raw, raw, roots, home)
    if path.is_dir():
        names = sorted(child.name for child in path.iterdir() if not child.name.startswith("."))
        data_files = [n for n in names if _format(n, choice.format, any_name=False)]
        files = [(n, _allowed(path / n, n, roots, home)) for n in data_files]
        return _streams(choice, [(n, str(p)) for n, p in files if p.is_file()], raw, local=True)
    if not path.is_file():
        raise SourceNotFound(f"There is no file {raw}.", path=raw)
    if not os.access(path, os.R_OK):
        raise SourceNotFound(f"The gateway's user may not read {raw}.", path=raw)
    return _one(choice, path.name, str(path), local=True)


def bucket_streams(choice: FileChoice, prefix: str, keys: Iterable[str]) -> list[FileStream]:
    """Returns the streams at a key prefix. `keys` are those that exist there."""
    keys = list(keys)
    if prefix in keys:
        return _one(choice, prefix.rsplit("/", 1)[-1], prefix, local=False)
    below = [key for key in keys if key.rpartition("/")[0] == prefix]
    names = [(key.rpartition("/")[2], key) for key in below]
    files = [(n, k) for n, k in names if _format(n, choice.format, any_name=False)]
    return _streams(choice, files, choice.url, local=False)


def _allowed(path: Path, shown: str, roots: Sequence[Path], home: Path) -> Path:
    resolved = Path(os.path.realpath(path))
    private = _is_below(resolved, home) and not _is_below(resolved, home / "data")
    if private or not any(_is_below(resolved, root) for root in roots):
        raise PathRefused(
            f"{shown} is not in a directory that file sources may read.",
            hint=f"Name its directory in {SETTING}, or put the file into $ASGARD_HOME/data.",
            setting=SETTING,
        )
    return resolved


def _is_below(resolved: Path, folder: Path) -> bool:
    return resolved.is_relative_to(os.path.realpath(folder))


def _one(choice: FileChoice, name: str, where: str, *, local: bool) -> list[FileStream]:
    format_ = _format(name, choice.format, any_name=True)
    if format_ is None:
        raise InvalidRequest(
            f"The name {name} does not show the file's format: set `format` to one of "
            f"{', '.join(FORMAT_NAMES)}."
        )
    stream = choice.dataset_name or FileKind.of(name).stream
    return [_stream(stream, name, format_, where, local=local)]


def _streams(
    choice: FileChoice, files: list[tuple[str, str]], shown: str, *, local: bool
) -> list[FileStream]:
    if choice.dataset_name is not None:
        raise InvalidRequest(
            "dataset_name names the stream of a single file, but the url is a directory."
        )
    if not files:
        raise SourceNotFound(
            f"{shown} has no data files: {', '.join(FORMAT_NAMES)}, or one of them as .gz or .zip.",
            path=shown,
        )
    streams: dict[str, FileStream] = {}
    for name, where in files:
        kind = FileKind.of(name)
        format_ = choice.format or kind.format
        assert format_ is not None  # noqa: S101 — files of no known format were left out
        if kind.stream in streams:
            raise InvalidRequest(
                f"{streams[kind.stream].label} and {name} would both be the stream {kind.stream}."
            )
        streams[kind.stream] = _stream(kind.stream, name, format_, where, local=local)
    return list(streams.values())


def _stream(name: str, label: str, format_: FileFormat, where: str, *, local: bool) -> FileStream:
    if local:
        return FileStream(name, label, format_, path=Path(where))
    return FileStream(name, label, format_, key=where)


def _format(name: str, requested: FileFormat | None, *, any_name: bool) -> FileFormat | None:
    """Returns the format. `requested` takes precedence over the name of a single file. In a
    directory it selects among the files."""
    own = FileKind.of(name).format
    if any_name:
        return requested or own
    return own if requested in {None, own} else None
