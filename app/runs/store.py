"""Open runs and their logs, as S3 objects changed only by conditional writes."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.runs.model import Run

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectInfo, ObjectStore

OPEN_PREFIX = "asgard/runs/open/"
LOG_PREFIX = "asgard/runs/logs/"


@dataclass(frozen=True)
class StoredRun:
    run: Run
    etag: str


def open_key(run_id: str) -> str:
    return f"{OPEN_PREFIX}{run_id}.json"


class RunStore:
    """`PreconditionFailed` (of the storage) when another writer was faster."""

    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._listed: dict[str, StoredRun] = {}

    async def create(self, run: Run) -> StoredRun:
        return StoredRun(run, await self._store.create(open_key(run.run_id), _body(run)))

    async def replace(self, run: Run, etag: str) -> StoredRun:
        return StoredRun(run, await self._store.replace(open_key(run.run_id), _body(run), etag))

    async def load(self, run_id: str) -> StoredRun | None:
        found = await self._store.get(open_key(run_id))
        return StoredRun(Run.model_validate_json(found.body), found.etag) if found else None

    async def remove(self, run_ids: Iterable[str]) -> None:
        await self._store.delete_many([open_key(run_id) for run_id in run_ids])

    async def list(self, known: Mapping[str, StoredRun]) -> dict[str, StoredRun]:
        """Every object there is, ended runs that still wait for history too.

        One listing; only those whose etag is neither in `known` nor from the last listing are
        read. The result is the caller's.
        """
        found = await self._store.list(OPEN_PREFIX)
        runs = await asyncio.gather(*(self._from_listing(info, known) for info in found))
        self._listed = {stored.run.run_id: stored for stored in runs if stored is not None}
        return dict(self._listed)

    async def _from_listing(
        self, info: "ObjectInfo", known: Mapping[str, StoredRun]
    ) -> StoredRun | None:
        run_id = info.key.removeprefix(OPEN_PREFIX).removesuffix(".json")
        for stored in (known.get(run_id), self._listed.get(run_id)):
            if stored is not None and stored.etag == info.etag:
                return stored
        return await self.load(run_id)

    async def read_log(self, run_id: str) -> str:
        found = await self._store.get(_log_key(run_id))
        return found.body.decode(errors="replace") if found else ""

    async def write_log(self, run_id: str, text: str) -> None:
        await self._store.put(_log_key(run_id), text.encode(), content_type="text/plain")


def _log_key(run_id: str) -> str:
    return f"{LOG_PREFIX}{run_id}.log"


def _body(run: Run) -> bytes:
    return run.model_dump_json().encode()
