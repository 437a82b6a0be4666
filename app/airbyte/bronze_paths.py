"""The rules of bronze paths, whichever engine writes them."""

import re
from collections.abc import Iterable

from app.airbyte.engine import Ingestion
from app.errors import Conflict, PathRefused

BRONZE = "bronze"


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


def refuse_taken(paths: Iterable[str], ingestions: Iterable[Ingestion], own_id: str | None) -> None:
    """Raises `Conflict` when another ingestion writes one of these bronze paths."""
    requested = set(paths)
    for other in ingestions:
        taken = requested.intersection(stream.path for stream in other.streams)
        if other.id != own_id and taken:
            raise Conflict(
                f"The ingestion {other.name} already writes {', '.join(sorted(taken))}.",
                hint="Choose other streams, or another destination.",
                conflicting_id=other.id,
            )
