"""The files of a source, if they may be read. Calls block: make them in a thread."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.airbyte.file_formats import FORMAT_NAMES, FileFormat, FileKind
from app.errors import InvalidRequest, PathRefused, SourceNotFound

SETTING = "INGESTION_ALLOWED_DIRS"
MOST_FILES = 10_000
"""The maximum number of data files in a directory."""
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, ends of lines, and the surrogates with which Python represents bytes of a
name that are not UTF-8. No log and no response could show such a name."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a source. `path` is local and resolved. `key` is in the bucket."""

    stream: str | None
    """The stream that it is, or None if it holds several, which only its reader can name."""
    label: str
    """The client's name for it."""
    path: Path | None = None
    key: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Anything else that its reader has to know, in JSON."""


@dataclass(frozen=True)
class FileChoice:
    """A source's parsed config. `format` and `dataset_name` take precedence over file names."""

    url: str
    dataset_name: str | None = None
    format: FileFormat | None = None


def is_in_bucket(url: str) -> bool:
    return url.startswith(("s3://", "s3a://"))


def local_path(url: str, roots: Sequence[Path], home: Path) -> Path:
    """Returns what a URL names, resolved. Relative paths begin at the first root. In `home`, only
    `data` may be read.

    Raises:
        PathRefused: The path is outside the roots, also by `..` or a symbolic link.
    """
    raw = _raw(url)
    if "://" in raw:
        raise PathRefused(
            f"{raw} may not be read: a file source reads local files or s3:// paths of the lake.",
            setting=SETTING,
        )
    _require_text(raw)
    return _allowed(roots[0] / raw, raw, roots, home)


def require_file(path: Path, url: str) -> None:
    """Raises `SourceNotFound` unless the path is a file that the gateway may read."""
    raw = _raw(url)
    if not path.is_file():
        raise SourceNotFound(f"There is no file {raw}.", path=raw)
    if not os.access(path, os.R_OK):
        raise SourceNotFound(f"The gateway's user may not read {raw}.", path=raw)
    _require_text(path.name)


def local_streams(choice: FileChoice, roots: Sequence[Path], home: Path) -> list[SourceFile]:
    """Returns the streams at a local path. Raises what `local_path` raises, and `SourceNotFound` if
    nothing is there, or no data file."""
    raw, path = _raw(choice.url), local_path(choice.url, roots, home)
    if path.is_dir():
        visible = (c.name for c in path.iterdir() if not c.name.startswith("."))
        names = _data_files(choice, raw, visible)
        files = [(n, _allowed(path / n, n, roots, home)) for n in names]
        return _streams(choice, [(n, str(p)) for n, p in files if p.is_file()], raw, local=True)
    require_file(path, choice.url)
    return _one(choice, path.name, str(path), local=True)


def bucket_streams(choice: FileChoice, prefix: str, keys: Iterable[str]) -> list[SourceFile]:
    """Returns the streams at a key prefix. `keys` are those that exist there."""
    keys = list(keys)
    if prefix in keys:
        _require_text(prefix)
        return _one(choice, prefix.rsplit("/", 1)[-1], prefix, local=False)
    below = (key for key in keys if key.rpartition("/")[0] == prefix)
    names = _data_files(choice, choice.url, (key.rpartition("/")[2] for key in below))
    return _streams(choice, [(n, f"{prefix}/{n}") for n in names], choice.url, local=False)


def _raw(url: str) -> str:
    return url.removeprefix("file://")


def _require_text(path: str) -> None:
    if _NO_TEXT.search(path):
        raise PathRefused("A path cannot contain control characters, and must be valid UTF-8.")


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
    above = [root for root in roots if _is_below(resolved, root)]
    if above and all(_is_hidden(resolved, root) for root in above):
        raise PathRefused(
            f"{shown} is hidden or in a hidden folder: expected a path without hidden names. "
            "Hidden files often hold secrets.",
            hint="Copy it to a path in which no file or folder name begins with a dot.",
        )
    if private or not above:
        raise PathRefused(
            f"{shown} is not in a directory that file sources may read.",
            hint=f"Add its directory to {SETTING}, or put the file into $ASGARD_HOME/data.",
            setting=SETTING,
        )
    return resolved


def _is_hidden(resolved: Path, root: Path) -> bool:
    below = resolved.relative_to(os.path.realpath(root))
    return any(part.startswith(".") for part in below.parts)


def _is_below(resolved: Path, folder: Path) -> bool:
    return resolved.is_relative_to(os.path.realpath(folder))


def _one(choice: FileChoice, name: str, where: str, *, local: bool) -> list[SourceFile]:
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
) -> list[SourceFile]:
    if choice.dataset_name is not None:
        raise InvalidRequest(
            "dataset_name names the stream of a single file, but the url is a directory."
        )
    if not files:
        raise SourceNotFound(
            f"{shown} has no data files: {', '.join(FORMAT_NAMES)}, or one of them as .gz or .zip.",
            path=shown,
        )
    streams: dict[str, SourceFile] = {}
    for name, where in files:
        kind = FileKind.of(name)
        format_ = choice.format or kind.format
        assert format_ is not None  # noqa: S101 — files of no known format were left out
        if kind.stream in streams:
            raise InvalidRequest(
                f"{streams[kind.stream].label} and {name} would both become the stream "
                f"{kind.stream}."
            )
        streams[kind.stream] = _stream(kind.stream, name, format_, where, local=local)
    return list(streams.values())


def _stream(name: str, label: str, format_: FileFormat, where: str, *, local: bool) -> SourceFile:
    options = {"format": format_.value}
    if local:
        return SourceFile(name, label, path=Path(where), options=options)
    return SourceFile(name, label, key=where, options=options)


def _format(name: str, requested: FileFormat | None, *, any_name: bool) -> FileFormat | None:
    """Returns the format. `requested` takes precedence over the name of a single file. In a
    directory it selects among the files."""
    own = FileKind.of(name).format
    if any_name:
        return requested or own
    return own if requested in {None, own} else None
