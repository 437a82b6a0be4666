"""Equal work that is open already is joined, not doubled, on whichever replicas it is asked for."""

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
YOUNG = timedelta(seconds=10)
"""So old may a join be whose run is not there yet: its maker is about to make it."""


class RunDeduplicator:
    """One object for each (target, fingerprint), naming the run that does this work."""

    def __init__(
        self, store: "ObjectStore", runs: RunStore, is_last: Callable[[Run], Awaitable[bool]]
    ) -> None:
        """`is_last(run)`: no later run of its target is open. Work that another one comes after
        must be done once more: the table would be left as that one makes it."""
        self._store = store
        self._runs = runs
        self._is_last = is_last

    async def run_id_for(self, target: str, fingerprint: str, new_id: str) -> str | StoredRun:
        """The open run that does this work, or the id under which to make it (not always new)."""
        from app.lakehouse.storage import PreconditionFailed

        work = hashlib.sha256(f"{target}\n{fingerprint}".encode()).hexdigest()
        key = f"{PREFIX}{work}.json"
        body = json.dumps({"run_id": new_id}).encode()
        while True:
            try:
                await self._store.create(key, body)
                return new_id
            except PreconditionFailed:
                held = await self._store.get(key)
            if held is None:
                continue
            run_id: str = json.loads(held.body)["run_id"]
            stored = await self._runs.load(run_id)
            if stored is not None and is_joinable(stored.run) and await self._is_last(stored.run):
                return stored
            if stored is None and held.answered_at - held.last_modified < YOUNG:
                return run_id
            try:
                await self._store.replace(key, body, held.etag)
                return new_id
            except PreconditionFailed:
                continue


def is_joinable(run: Run) -> bool:
    return not run.state.is_terminal and run.cancel_requested_at is None
