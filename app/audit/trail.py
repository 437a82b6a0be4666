"""Keeps the audit: each change as an S3 object before it is answered, then in batches in Iceberg.

What is guaranteed: of a change that was answered with success there is a record, also after a
kill -9, unless S3 took nothing within `PATIENCE`; then the record waits in memory, and the log has
it. What a killed process had not answered may be missing here: the run or the resource tells then
who asked (`created_by`). Attempts that failed are written without anybody waiting for it.
Refusals are counted by caller and written once a minute, at most `MOST_REFUSALS` of them, so that
nobody can fill the lake with them; a kill -9 loses the last minute's.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from app.audit.ledger import AuditLedger
from app.audit.record import AuditOutcome, AuditRecord
from app.concurrency.backoff import backoff_delays
from app.concurrency.notify import wait_within
from app.errors import AsgardError
from app.redaction import within

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog
    from app.lakehouse.storage import ObjectStore

PREFIX = "asgard/audit/"
PATIENCE = 2.0
BATCHING = 5.0
"""Seconds for which the first record waits for others to go with it."""
SWEPT_EVERY = 60.0
"""Seconds between two looks for what replicas left that are gone."""
LARGEST_BATCH = 500
MOST_REFUSALS = 20
OTHERS = "others"
log = structlog.get_logger()


class AuditTrail:
    def __init__(self, store: "ObjectStore", catalog: "Catalog") -> None:
        self._store = store
        self._ledger = AuditLedger(catalog)
        self._waiting: dict[str, AuditRecord] = {}
        self._refused: dict[tuple[str, str, int], AuditRecord] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._next_sweep = 0.0

    def open(self) -> None:
        self._task = asyncio.create_task(self._carry_for_ever())

    async def close(self, grace: float = 5.0) -> None:
        """What is not in Iceberg by then stays in S3, for the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*self._writing, return_exceptions=True)
        self._take_refusals()
        try:
            async with asyncio.timeout(grace):
                await self._append()
        except (AsgardError, TimeoutError) as error:
            log.warning("audit_left_in_s3", records=len(self._waiting), error=repr(error))

    async def keep(self, record: AuditRecord) -> None:
        """Returns once it is durable, or after `PATIENCE`; never raises. What failed changed
        nothing: its answer waits for no storage, which may be what failed it."""
        self._waiting[record.id] = record
        self._work.set()
        # No caller can have a word of the audit hidden by calling it a secret.
        with within(None):
            log.info("audit", **record.model_dump(mode="json"))
            # A late write is left running: cancelling it would mean waiting for its thread.
            writing = asyncio.create_task(self._write(record))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        if record.outcome is AuditOutcome.DONE:
            await asyncio.wait({writing}, timeout=PATIENCE)

    @property
    def waiting(self) -> int:
        """Records that are not in Iceberg yet."""
        return len(self._waiting)

    def refuse(self, record: AuditRecord) -> None:
        key = (record.address, record.subject, record.status)
        if key not in self._refused and len(self._refused) >= MOST_REFUSALS - 1:
            key = (OTHERS, OTHERS, record.status)
            record = record.model_copy(update={"address": OTHERS, "subject": OTHERS})
        former = self._refused.get(key)
        more = {"count": former.count + 1} if former else {}
        self._refused[key] = (former or record).model_copy(update=more)

    async def all(self) -> Iterable[AuditRecord]:
        """The newest that there are, in no order. Raises `EngineUnreachable`."""
        await self._ledger.refresh()
        found = {item.id: item for item in self._ledger.all()}
        refused = {item.id: item for item in self._refused.values()}
        return {**found, **self._waiting, **refused}.values()

    async def _write(self, record: AuditRecord) -> None:
        try:
            body = record.model_dump_json().encode()
            await self._store.put(_key(record.id), body, content_type="application/json")
        except AsgardError as error:
            log.warning("audit_waits_in_memory", id=record.id, error=error.detail)

    async def _carry_for_ever(self) -> None:
        waits = backoff_delays(longest=30.0)
        while True:
            try:
                if not self._waiting:
                    # Cleared here, with nothing waiting: a bell left ringing would spin this loop.
                    self._work.clear()
                    await wait_within(self._work, max(0.05, self._next_sweep - time.monotonic()))
                if time.monotonic() >= self._next_sweep:
                    self._take_refusals()
                    await self._sweep()
                    self._next_sweep = time.monotonic() + SWEPT_EVERY
                if self._waiting:
                    await asyncio.sleep(BATCHING)
                    await self._append()
                waits = backoff_delays(longest=30.0)
            except AsgardError as error:
                log.warning("audit_waits", records=len(self._waiting), error=error.detail)
                await asyncio.sleep(next(waits))
            except Exception:
                # The outer edge of a task that has to outlive every fault.
                log.exception("audit_failed", records=len(self._waiting))
                await asyncio.sleep(next(waits))

    def _take_refusals(self) -> None:
        self._waiting.update({item.id: item for item in self._refused.values()})
        self._refused.clear()

    async def _sweep(self) -> None:
        """Replicas may find the same objects: the ledger takes each record once."""
        for found in await self._store.list(PREFIX):
            audit_id = found.key.removeprefix(PREFIX).removesuffix(".json")
            if audit_id in self._waiting or (stored := await self._store.get(found.key)) is None:
                continue
            try:
                self._waiting[audit_id] = AuditRecord.model_validate_json(stored.body)
            except ValidationError:
                log.error("audit_unreadable", key=found.key)

    async def _append(self) -> None:
        while self._waiting:
            batch = list(self._waiting.values())[:LARGEST_BATCH]
            await asyncio.gather(*self._writing, return_exceptions=True)
            await self._ledger.append(batch)
            await self._store.delete_many([_key(item.id) for item in batch])
            for item in batch:
                self._waiting.pop(item.id, None)


def _key(audit_id: str) -> str:
    return f"{PREFIX}{audit_id}.json"
