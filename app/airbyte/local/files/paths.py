"""The files of a `file` source, if they may be read. Calls block: make them in a thread."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.airbyte.file_formats import FORMAT_NAMES, FileFormat, FileKind
from app.errors import InvalidRequest, PathRefused, SourceNotFound

SETTING = "INGESTION_ALLOWED_DIRS"
MOST_FILES = 10_000
"""The most data files of a directory."""
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, ends of lines, and the surrogates by which Python writes bytes of a name that
are not UTF-8. No log and no response could show such a name."""


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
    _require_text(raw)
    path = _allowed(roots[0] / raw, raw, roots, home)
    if path.is_dir():
        visible = (c.name for c in path.iterdir() if not c.name.startswith("."))
        names = _data_files(choice, raw, visible)
        files = [(n, _allowed(path / n, n, roots, home)) for n in names]
        return _streams(choice, [(n, str(p)) for n, p in files if p.is_file()], raw, local=True)
    if not path.is_file():
        raise SourceNotFound(f"There is no file {raw}.", path=raw)
    if not os.access(path, os.R_OK):
        raise SourceNotFound(f"The gateway's user may not read {raw}.", path=raw)
    _require_text(path.name)
    return _one(choice, path.name, str(path), local=True)


def bucket_streams(choice: FileChoice, prefix: str, keys: Iterable[str]) -> list[FileStream]:
    """Returns the streams at a key prefix. `keys` are those that exist there."""
    keys = list(keys)
    if prefix in keys:
        _require_text(prefix)
        return _one(choice, prefix.rsplit("/", 1)[-1], prefix, local=False)
    below = (key for key in keys if key.rpartition("/")[0] == prefix)
    names = _data_files(choice, choice.url, (key.rpartition("/")[2] for key in below))
    return _streams(choice, [(n, f"{prefix}/{n}") for n in names], choice.url, local=False)


def _require_text(path: str) -> None:
    if _NO_TEXT.search(path):
        raise PathRefused("A path cannot have control characters, and must be valid UTF-8.")


def _data_files(choice: FileChoice, shown: str, names: Iterable[str]) -> list[str]:
    """Returns the names of the files of a directory that can be streams, sorted."""
    data_files = sorted(
        name
        for name in names
        if not _NO_TEXT.search(name) and _format(name, choice.format, any_name=False)
    )
    if len(data_files) > MOST_FILES:
        raise InvalidRequest(
            f"{shown} has {len(data_files)} data files: expected at most {MOST_FILES}.",
            hint="Move them into several directories, and create a source for each.",
        )
    return data_files


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
