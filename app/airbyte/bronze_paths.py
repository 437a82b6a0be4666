"""The rules of bronze paths, whichever engine writes them."""

import re
from collections.abc import Iterable

from app.airbyte.engine import Ingestion
from app.errors import Conflict, PathRefused

BRONZE = "bronze"


def require_bronze(bucket: str, path: str, lake_bucket: str) -> None:
    """In the lake's own bucket syncs write below `bronze/` only: beside it lie Asgard's state
    and the tables."""
    if bucket != lake_bucket:
        return
    parts = path.split("/")
    if parts[0] != BRONZE or any(not re.fullmatch(r"[\w-][\w.-]*", part) for part in parts):
        raise PathRefused(
            f"s3_bucket_path {path} is not below {BRONZE}/, where transformations read.", path=path
        )


def refuse_taken(paths: Iterable[str], ingestions: Iterable[Ingestion], itself: str | None) -> None:
    """Raises `Conflict` when another ingestion writes one of these bronze paths."""
    wanted = set(paths)
    for other in ingestions:
        taken = wanted.intersection(stream.path for stream in other.streams)
        if other.id != itself and taken:
            raise Conflict(
                f"The ingestion {other.name} writes {', '.join(sorted(taken))} already.",
                hint="Choose other streams, or another destination.",
                conflicting_id=other.id,
            )
