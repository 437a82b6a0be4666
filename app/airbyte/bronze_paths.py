"""The rules of bronze paths, whichever engine writes them."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.errors import Conflict, PathRefused

BRONZE = "bronze"
MOST_SHOWN = 20
DISJOINT = "No ingestion may write to, above or below a path of another one."


@dataclass(frozen=True)
class Writes:
    """The bronze paths that an ingestion writes."""

    id: str
    name: str
    paths: Iterable[str]


def require_bronze(bucket: str, path: str, lake_bucket: str) -> None:
    """Raises `PathRefused` for a path of the lake's own bucket that is not below `bronze/`:
    Asgard's state and the tables are beside it."""
    if bucket != lake_bucket:
        return
    parts = path.split("/")
    if parts[0] != BRONZE or any(not re.fullmatch(r"[\w-][\w.-]*", part) for part in parts):
        raise PathRefused(
            f"s3_bucket_path {path} is not below {BRONZE}/, where transformations read.", path=path
        )


def refuse_relative(path: str) -> None:
    """Raises `PathRefused` for a stream's path with a relative folder, which would be another path
    for a program that resolves it. The source decides the names in it."""
    if any(part in {".", ".."} for part in path.split("/")):
        raise PathRefused(
            f"The stream's path {path} contains a relative folder: expected no `.` or `..` "
            "between slashes.",
            hint="Choose other streams, or give the connection another namespace in Airbyte.",
            path=path,
        )


def bucket_key(url: str, bucket: str, prefixes: Iterable[str]) -> str:
    """Return the key prefix of an `s3://` path in the lake's own bucket. File sources read
    `bronze/` and `prefixes`. Raises `PathRefused` for any other path."""
    named, _, key = re.sub(r"^s3a?://", "", url).partition("/")
    if named != bucket:
        raise PathRefused(f"{url} is in another bucket; the lake's bucket is {bucket}.", path=url)
    parts = key.strip("/").split("/")
    if any(part in {"", ".", ".."} or re.search(r"[*?\[\]{}%\\\0]", part) for part in parts):
        raise PathRefused(f"{url} is not a plain path.", path=url)
    allowed = [prefix.strip("/") for prefix in ("bronze", *prefixes)]
    key = "/".join(parts)
    if not any(key == prefix or key.startswith(f"{prefix}/") for prefix in allowed):
        raise PathRefused(
            f"{url} may not be read: in the bucket, file sources read only {', '.join(allowed)}.",
            path=url,
        )
    return key


def refuse_taken(
    paths: Iterable[str],
    ingestions: Iterable[Writes],
    own_id: str | None,
    remedy: str = "Choose other streams, or another destination.",
) -> None:
    """Raises `Conflict` when one of these bronze paths overlaps one of another ingestion."""
    requested = PathIndex(paths)
    for other in ingestions:
        if other.id != own_id and (taken := requested.overlapping(other.paths)):
            raise Conflict(
                f"The ingestion {other.name} already writes {_listed(taken)}.",
                hint=f"{DISJOINT} {remedy}",
                conflicting_id=other.id,
            )


class PathIndex:
    """Finds the paths that equal, contain or lie below one of these. A reader of a path gets
    everything below it."""

    def __init__(self, paths: Iterable[str]) -> None:
        # With a slash at the end, a folder is the start of everything below it, and nothing else.
        self._folders = sorted({f"{path}/" for path in paths})
        self._outermost: list[str] = []
        for folder in self._folders:
            if not (self._outermost and folder.startswith(self._outermost[-1])):
                self._outermost.append(folder)

    def overlapping(self, others: Iterable[str]) -> list[str]:
        """Return those of `others` that overlap, sorted. Two bisections find each of them."""
        return sorted(other for other in set(others) if self._overlaps(f"{other}/"))

    def _overlaps(self, other: str) -> bool:
        first = bisect_left(self._folders, other)
        contains = first < len(self._folders) and self._folders[first].startswith(other)
        above = bisect_right(self._outermost, other)
        return contains or (above > 0 and other.startswith(self._outermost[above - 1]))


def _listed(paths: Sequence[str]) -> str:
    left_out = len(paths) - MOST_SHOWN
    more = f" and {left_out} more" if left_out > 0 else ""
    return ", ".join(paths[:MOST_SHOWN]) + more
