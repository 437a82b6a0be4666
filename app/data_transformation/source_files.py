"""Resolves a path of the bucket to its files."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from app.errors import InvalidRequest, SourceNotFound
from app.frozen import Frozen
from app.shorten import shortened

if TYPE_CHECKING:
    from app.lakehouse.bronze.manifests import BronzePath
    from app.lakehouse.storage import ObjectInfo

AMBIGUOUS = re.compile(r"[*?\[\]{}\\\x00-\x1f\x7f]|(?:^|/)\.{0,2}(?:/|$)")
"""Matches parts of a key that Spark's engines read as a pattern, skip, or resolve to another
folder."""
LONGEST_KEY = 200
FORMATS = {"parquet": "parquet", "json": "json", "jsonl": "json", "csv": "csv"}


class Manifests(Protocol):
    async def resolve(self, path: str) -> "BronzePath | None": ...


class Listing(Protocol):
    async def list(self, prefix: str) -> "list[ObjectInfo]": ...


class Resolved(Frozen):
    """Files of one format. `run_ids` are the syncs that wrote them, if an ingestion did."""

    path: str
    format: str
    keys: tuple[str, ...]
    run_ids: tuple[str, ...] = ()
    source: str | None = None


class SourceResolver:
    def __init__(self, store: Listing, manifests: Manifests) -> None:
        self._store = store
        self._manifests = manifests

    async def resolve(self, path: str, requested: str | None) -> Resolved:
        """Returns the files at a key prefix: those of complete syncs if an ingestion writes there,
        or else all data files. `requested` is the format that the SQL names. Without it, all
        files must have the same one.

        Raises:
            SourceNotFound: There are none.
            InvalidRequest: They have several formats and none was named, or a key would also
                stand for other files.
        """
        written = await self._manifests.resolve(path)
        if written is not None:
            keys, run_ids, source = written.files, written.run_ids, written.source
        else:
            keys, run_ids, source = await self._listed(path), (), None
        formats = _by_format(keys)
        if not formats:
            after = " of a complete sync" if written is not None else ""
            raise SourceNotFound(
                f"There are no data files{after} at {path}: parquet, json, jsonl or csv.",
                path=path,
            )
        if requested is None:
            if len(formats) > 1:
                raise InvalidRequest(
                    f"{path} contains files of several formats ({', '.join(sorted(formats))}). "
                    "Read one of them through a path table in the SQL: parquet.`path`.",
                    formats=sorted(formats),
                )
            (requested,) = formats
        if requested not in formats:
            raise SourceNotFound(
                f"There are no {requested} files at {path}; it contains "
                f"{', '.join(sorted(formats))}.",
                path=path,
            )
        _refuse_ambiguous(formats[requested])
        return Resolved(
            path=path,
            format=requested,
            keys=tuple(sorted(formats[requested])),
            run_ids=run_ids,
            source=source,
        )

    async def _listed(self, path: str) -> tuple[str, ...]:
        prefix = path.rstrip("/")
        keys = [info.key for info in await self._store.list(prefix) if info.size]
        return tuple(key for key in keys if _is_below(key, prefix) and not _is_hidden(key, prefix))


def format_of(key: str) -> str | None:
    name = key.rsplit("/", 1)[-1].lower().removesuffix(".gz")
    return FORMATS.get(name.rsplit(".", 1)[-1]) if "." in name else None


def _by_format(keys: tuple[str, ...]) -> dict[str, list[str]]:
    formats: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        if kind := format_of(key):
            formats[kind].append(key)
    return dict(formats)


def _refuse_ambiguous(keys: Iterable[str]) -> None:
    """Refuse keys that the engine would read as patterns or as other keys, since these can be those
    of files that no SQL may read."""
    for key in keys:
        if AMBIGUOUS.search(key):
            raise InvalidRequest(
                f"The key {shortened(key, LONGEST_KEY)!r} contains a wildcard, a bracket, a "
                "brace, a backslash, a control character, or an empty or relative folder. Spark "
                "could read other files instead.",
                hint="Rename or remove the object.",
            )


def _is_below(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith(f"{prefix}/")


def _is_hidden(key: str, prefix: str) -> bool:
    """Returns whether Spark and Hive ignore the file: a name in its path starts with `_` or `.`."""
    below = key[len(prefix) :].strip("/")
    return any(part[0] in "_." for part in below.split("/") if part)
