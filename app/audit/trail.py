"""Records the audit: each change as an S3 object before it is answered, then in batches in Iceberg.

Every change that was answered with success has a record, even after a kill -9, unless S3 accepted
nothing within `WRITE_TIMEOUT`. Then the record waits in memory, and the log has it. Changes that a
killed process had not answered may be missing here. The run or the resource then shows the caller
(`created_by`). Failed attempts are written without making a request wait. Refusals are counted by
caller and written once a minute, at most `MOST_REFUSALS` of them, so that no caller can fill the
lake with them. A kill -9 loses those of the last minute.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from app.audit.ledger import AuditLedger
from app.audit.record import AuditOutcome, AuditRecord
from app.concurrency.outbox import Outbox
from app.errors import AsgardError
from app.redaction import within

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog
    from app.lakehouse.storage import ObjectStore

PREFIX = "asgard/audit/"
WRITE_TIMEOUT = 2.0
BATCHING = 5.0
"""Seconds that the first record waits for others, so that they share a batch."""
SWEPT_EVERY = 60.0
"""Seconds between two sweeps for records that dead replicas left."""
MOST_REFUSALS = 20
OTHERS = "others"
log = structlog.get_logger()


class AuditTrail:
    def __init__(self, store: "ObjectStore", catalog: "Catalog") -> None:
        self._store = store
        self._ledger = AuditLedger(catalog)
        self._refused: dict[tuple[str, str, int], AuditRecord] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._next_sweep = 0.0
        self._outbox = Outbox("audit", self._append, self._collect, batching=BATCHING)

    def open(self) -> None:
        self._outbox.open()

    async def close(self, grace: float = 5.0) -> None:
        """Stop within `grace` seconds. Records not in Iceberg by then stay in S3 for the next
        start."""
        await self._outbox.stop()
        await asyncio.gather(*self._writing, return_exceptions=True)
        self._queue_refusals()
        await self._outbox.flush(grace)

    async def keep(self, record: AuditRecord) -> None:
        """Record a change. Return once it is durable, or after `WRITE_TIMEOUT`. Never raises. A
        failed attempt changed nothing, so its response does not wait for the storage, which may be
        the cause."""
        self._outbox.add(record.id, record)
        # No caller can hide a value in the audit by declaring it a secret.
        with within(None):
            log.info("audit", **record.model_dump(mode="json"))
            # A late write continues, since cancelling it would mean waiting for its thread.
            writing = asyncio.create_task(self._write(record))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        if record.outcome is AuditOutcome.DONE:
            await asyncio.wait({writing}, timeout=WRITE_TIMEOUT)

    @property
    def waiting(self) -> int:
        """Return the number of records that are not in Iceberg yet."""
        return len(self._outbox)

    def refuse(self, record: AuditRecord) -> None:
        key = (record.address, record.subject, record.status)
        if key not in self._refused and len(self._refused) >= MOST_REFUSALS - 1:
            key = (OTHERS, OTHERS, record.status)
            record = record.model_copy(update={"address": OTHERS, "subject": OTHERS})
        previous = self._refused.get(key)
        update = {"count": previous.count + 1} if previous else {}
        self._refused[key] = (previous or record).model_copy(update=update)

    async def all(self) -> Iterable[AuditRecord]:
        """Return the newest records, in no order. Raises `EngineUnreachable`."""
        await self._ledger.refresh()
        recorded = {item.id: item for item in self._ledger.all()}
        refused = {item.id: item for item in self._refused.values()}
        return {**recorded, **self._outbox.items, **refused}.values()

    async def _write(self, record: AuditRecord) -> None:
        try:
            body = record.model_dump_json().encode()
            await self._store.put(_key(record.id), body, content_type="application/json")
        except AsgardError as error:
            log.warning("audit_waits_in_memory", id=record.id, error=error.detail)

    def _queue_refusals(self) -> None:
        for item in self._refused.values():
            self._outbox.add(item.id, item)
        self._refused.clear()

    async def _collect(self) -> float:
        """Sweep when it is time, and return the seconds until the next sweep."""
        if time.monotonic() >= self._next_sweep:
            self._queue_refusals()
            await self._sweep()
            self._next_sweep = time.monotonic() + SWEPT_EVERY
        return max(0.05, self._next_sweep - time.monotonic())

    async def _sweep(self) -> None:
        """Collect records that other replicas left. Several replicas may find the same objects: the
        ledger accepts each record once."""
        for info in await self._store.list(PREFIX):
            audit_id = info.key.removeprefix(PREFIX).removesuffix(".json")
            if audit_id in self._outbox.items:
                continue
            if (stored := await self._store.get(info.key)) is None:
                continue
            try:
                record = AuditRecord.model_validate_json(stored.body)
            except ValidationError:
                log.error("audit_unreadable", key=info.key)
                continue
            self._outbox.add(audit_id, record)

    async def _append(self, batch: list[AuditRecord]) -> None:
        await asyncio.gather(*self._writing, return_exceptions=True)
        await self._ledger.append(batch)
        await self._store.delete_many([_key(item.id) for item in batch])


def _key(audit_id: str) -> str:
    return f"{PREFIX}{audit_id}.json"
