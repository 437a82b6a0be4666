"""Which files a path of the bucket stands for."""

from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from app.errors import InvalidRequest, SourceNotFound
from app.frozen import Frozen

if TYPE_CHECKING:
    from app.lakehouse.bronze.manifests import BronzePath
    from app.lakehouse.storage import ObjectInfo

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

    async def resolve(self, path: str, wanted: str | None) -> Resolved:
        """The files at a key prefix: those of complete syncs where an ingestion writes, else all
        data files. `wanted` is the format that the SQL names; without it they must have one.

        Raises:
            SourceNotFound: there are none.
            InvalidRequest: they have several formats and none was named.
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
        if wanted is None:
            if len(formats) > 1:
                raise InvalidRequest(
                    f"{path} holds files of several formats ({', '.join(sorted(formats))}). "
                    "Read one of them by a path table in the SQL: parquet.`path`.",
                    formats=sorted(formats),
                )
            (wanted,) = formats
        if wanted not in formats:
            raise SourceNotFound(
                f"There are no {wanted} files at {path}; it holds {', '.join(sorted(formats))}.",
                path=path,
            )
        return Resolved(
            path=path,
            format=wanted,
            keys=tuple(sorted(formats[wanted])),
            run_ids=run_ids,
            source=source,
        )

    async def _listed(self, path: str) -> tuple[str, ...]:
        prefix = path.rstrip("/")
        found = [info.key for info in await self._store.list(prefix) if info.size]
        return tuple(key for key in found if _is_below(key, prefix) and not _is_hidden(key, prefix))


def format_of(key: str) -> str | None:
    name = key.rsplit("/", 1)[-1].lower().removesuffix(".gz")
    return FORMATS.get(name.rsplit(".", 1)[-1]) if "." in name else None


def _by_format(keys: tuple[str, ...]) -> dict[str, list[str]]:
    formats: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        if kind := format_of(key):
            formats[kind].append(key)
    return dict(formats)


def _is_below(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith(f"{prefix}/")


def _is_hidden(key: str, prefix: str) -> bool:
    """Names that start with `_` or `.` are no data to Spark and Hive."""
    below = key[len(prefix) :].strip("/")
    return any(part[0] in "_." for part in below.split("/") if part)
