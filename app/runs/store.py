"""Open runs and their logs, as S3 objects changed only by conditional writes."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.runs.model import Run

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectStore

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
        former, unread = self._listed, []
        listed: dict[str, StoredRun] = {}
        for info in found:
            run_id = info.key[len(OPEN_PREFIX) : -len(".json")]
            stored = known.get(run_id)
            if stored is None or stored.etag != info.etag:
                stored = former.get(run_id)
            if stored is None or stored.etag != info.etag:
                unread.append(run_id)
            else:
                listed[run_id] = stored
        for stored in await asyncio.gather(*map(self.load, unread)):
            if stored is not None:
                listed[stored.run.run_id] = stored
        self._listed = listed
        return dict(listed)

    async def read_log(self, run_id: str) -> str:
        found = await self._store.get(_log_key(run_id))
        return found.body.decode(errors="replace") if found else ""

    async def write_log(self, run_id: str, text: str) -> None:
        await self._store.put(_log_key(run_id), text.encode(), content_type="text/plain")


def _log_key(run_id: str) -> str:
    return f"{LOG_PREFIX}{run_id}.log"


def _body(run: Run) -> bytes:
    return run.model_dump_json().encode()
