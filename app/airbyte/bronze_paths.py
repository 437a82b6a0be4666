"""The rules of bronze paths, whichever engine writes them."""

import re
from collections.abc import Collection, Iterable

from app.airbyte.engine import Ingestion
from app.errors import Conflict, PathRefused

BRONZE = "bronze"
DISJOINT = "No ingestion may write to, above or below a path of another one."


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
            f"{url} may not be read: of the bucket, file sources read {', '.join(allowed)}.",
            path=url,
        )
    return key


def refuse_taken(paths: Iterable[str], ingestions: Iterable[Ingestion], own_id: str | None) -> None:
    """Raises `Conflict` when one of these bronze paths overlaps one of another ingestion."""
    requested = tuple(paths)
    for other in ingestions:
        taken = overlapping(requested, (stream.path for stream in other.streams))
        if other.id != own_id and taken:
            raise Conflict(
                f"The ingestion {other.name} already writes {', '.join(taken)}.",
                hint=f"{DISJOINT} Choose other streams, or another destination.",
                conflicting_id=other.id,
            )


def overlapping(paths: Collection[str], others: Iterable[str]) -> list[str]:
    """Return those of `others` that equal, contain or lie below one of `paths`, sorted. A reader
    of a path gets everything below it."""
    return sorted(o for o in set(others) if any(_is_below(o, p) or _is_below(p, o) for p in paths))


def _is_below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")
