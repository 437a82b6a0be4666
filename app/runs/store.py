"""Open runs and their logs, as S3 objects changed only by conditional writes."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from app.runs.model import Run

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectInfo, ObjectStore

OPEN_PREFIX = "asgard/runs/open/"
LOG_PREFIX = "asgard/runs/logs/"
log = structlog.get_logger()


@dataclass(frozen=True)
class StoredRun:
    run: Run
    etag: str


def open_key(run_id: str) -> str:
    return f"{OPEN_PREFIX}{run_id}.json"


class RunStore:
    """Reads and writes runs. Raises the storage's `PreconditionFailed` if another writer was
    faster."""

    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._listed: dict[str, StoredRun] = {}
        self._not_runs: dict[str, str] = {}
        """Keys and etags of objects that are not runs."""

    async def create(self, run: Run) -> StoredRun:
        return StoredRun(run, await self._store.create(open_key(run.run_id), _body(run)))

    async def replace(self, run: Run, etag: str) -> StoredRun:
        return StoredRun(run, await self._store.replace(open_key(run.run_id), _body(run), etag))

    async def load(self, run_id: str) -> StoredRun | None:
        stored = await self._store.get(open_key(run_id))
        return StoredRun(Run.model_validate_json(stored.body), stored.etag) if stored else None

    async def _load_listed(self, info: "ObjectInfo") -> StoredRun | None:
        """Also return None for an object that is not a run, so that it does not hide the runs."""
        stored = await self._store.get(info.key)
        if stored is None:
            return None
        try:
            run = Run.model_validate_json(stored.body)
        except ValidationError:
            run = None
        if run is None or open_key(run.run_id) != info.key:
            log.warning("not_a_run", key=info.key)
            self._not_runs[info.key] = info.etag
            return None
        return StoredRun(run, stored.etag)

    async def remove(self, run_ids: Iterable[str]) -> None:
        await self._store.delete_many([open_key(run_id) for run_id in run_ids])

    async def list(self, cached: Mapping[str, StoredRun]) -> dict[str, StoredRun]:
        """Return every stored run, including ended ones that still wait for history.

        This takes one listing. Only objects whose etag is neither in `cached` nor in the last
        listing are read. The caller may change the result.
        """
        infos = await self._store.list(OPEN_PREFIX)
        previous, unread = self._listed, list["ObjectInfo"]()
        listed: dict[str, StoredRun] = {}
        for info in infos:
            if self._not_runs.get(info.key) == info.etag:
                continue
            run_id = info.key[len(OPEN_PREFIX) : -len(".json")]
            stored = cached.get(run_id)
            if stored is None or stored.etag != info.etag:
                stored = previous.get(run_id)
            if stored is None or stored.etag != info.etag:
                unread.append(info)
            else:
                listed[run_id] = stored
        for stored in await asyncio.gather(*map(self._load_listed, unread)):
            if stored is not None:
                listed[stored.run.run_id] = stored
        self._listed = listed
        return dict(listed)

    async def read_log(self, run_id: str) -> str:
        stored = await self._store.get(_log_key(run_id))
        return stored.body.decode(errors="replace") if stored else ""

    async def write_log(self, run_id: str, text: str) -> None:
        await self._store.put(
            _log_key(run_id), text.encode(errors="replace"), content_type="text/plain"
        )


def _log_key(run_id: str) -> str:
    return f"{LOG_PREFIX}{run_id}.log"


def _body(run: Run) -> bytes:
    return run.model_dump_json().encode()
