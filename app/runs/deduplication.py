"""Joins equal requests to one open run, whichever replicas receive them."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from app.runs.model import Run
from app.runs.store import RunStore, StoredRun

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectStore

PREFIX = "asgard/runs/joins/"
CREATED_WITHIN = timedelta(seconds=10)
"""Maximum age of an entry whose run does not exist yet, because its process is creating it."""


class RunDeduplicator:
    """One object for each (target, fingerprint), naming the run that does this work."""

    def __init__(
        self, store: "ObjectStore", runs: RunStore, is_last: Callable[[Run], Awaitable[bool]]
    ) -> None:
        """`is_last(run)` returns whether no later run of the same target is open. Otherwise the
        work has to be repeated, because the later run will overwrite the table."""
        self._store = store
        self._runs = runs
        self._is_last = is_last

    async def run_id_for(self, target: str, fingerprint: str, new_id: str) -> str | StoredRun:
        """Return the open run that does this work, or the id to create it with (not always
        `new_id`)."""
        from app.lakehouse.storage import PreconditionFailed

        work = hashlib.sha256(f"{target}\n{fingerprint}".encode()).hexdigest()
        key = f"{PREFIX}{work}.json"
        body = json.dumps({"run_id": new_id}).encode()
        while True:
            try:
                await self._store.create(key, body)
                return new_id
            except PreconditionFailed:
                entry = await self._store.get(key)
            if entry is None:
                continue
            run_id: str = json.loads(entry.body)["run_id"]
            stored = await self._runs.load(run_id)
            if stored is not None and is_joinable(stored.run) and await self._is_last(stored.run):
                return stored
            if stored is None and entry.answered_at - entry.last_modified < CREATED_WITHIN:
                return run_id
            try:
                await self._store.replace(key, body, entry.etag)
                return new_id
            except PreconditionFailed:
                continue


def is_joinable(run: Run) -> bool:
    return not run.state.is_terminal and run.cancel_requested_at is None
