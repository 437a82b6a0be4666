"""The embedded lakehouse: one SeaweedFS for all gateways on one `ASGARD_HOME`.

The gateway that holds the owner's lock runs SeaweedFS and restarts it when it dies. The others are
attached: they use it, and wait for the lock. Ports and keys stay unchanged while any gateway is
attached, so a `Lake` stays valid. While SeaweedFS is away, calls raise `EngineUnreachable`.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio.to_thread

from app.config import Settings
from app.errors import AsgardError, EngineUnreachable
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.embedded import seaweedfs, seaweedfs_identities, seaweedfs_ports
from app.lakehouse.embedded.home import Home, Shared, new_shared
from app.lakehouse.embedded.seaweedfs_identities import (
    BUILDER,
    PUBLISHER,
    SAIL,
    SILVER_PUBLISHER,
    lake_of,
)
from app.lakehouse.embedded.seaweedfs_losses import Losses
from app.lakehouse.listeners import is_ours
from app.lakehouse.storage import ObjectStore, PreconditionFailed
from app.lakehouse.storage_probe import HEALTH_KEY, ProbeObject, Proof
from app.lakehouse.timeouts import READ_TIMEOUT
from app.processes import ChildProcess
from app.redaction import register_secrets
from app.telemetry.calls import SILENT, Telemetry

log = logging.getLogger(__name__)

POLL, SLOW_POLL = 0.05, 1.0
FIRST_PATIENCE = 2.0
"""Seconds. A half-started SeaweedFS may accept a request and never answer it."""
OWNER_POLL = 0.25
START_TIMEOUT = 90.0
PORT_ATTEMPTS = 5
PORTS_FREED_WITHIN = 1.0
FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 5.0
STABLE_AFTER = 30.0
HEALTH_TIMEOUT = 2.0
PROBE_KEY = "asgard/probe"
TABLES_KEY = f"{HEALTH_KEY}/data/probe.parquet"
"""The table bucket accepts only names of this form. The catalog has no such table."""
DISK_POLL = 1.0
FULL, ROOM = 16 * 2**20, 64 * 2**20


@dataclass(frozen=True)
class Patience:
    """Seconds after which a SeaweedFS that has not ended counts as hanging and is restarted."""

    ready_within: float = 25.0
    """SeaweedFS needs one or two."""
    mute_for: float = 45.0
    mute_poll: float = 5.0


DEFAULT_PATIENCE = Patience()


class StartFailed(EngineUnreachable):
    """SeaweedFS did not start. The message has the end of its log."""

    title = "The embedded lakehouse did not start"


class EmbeddedLakehouse:
    """Created by `embedded_lakehouse`. `store` and `catalog` are open on `lake`, for general use.
    The other lakes have fewer rights (see `seaweedfs_identities`)."""

    def __init__(self, settings: Settings, patience: Patience, telemetry: Telemetry) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._patience = patience
        self._home = Home(settings.home)
        self._child: ChildProcess | None = None
        self._shared: Shared | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self.is_owner = False
        self.restarts = 0
        self.lake: Lake
        self.builder_lake: Lake
        self.publisher_lake: Lake
        self.sail_lake: Lake
        self.silver_publisher_lake: Lake
        self.store: ObjectStore
        self.catalog: Catalog
        self._tables: ObjectStore
        self._losses: Losses

    @property
    def records(self) -> Catalog:
        """Return the catalog: it has no branches, so the records are next to the data."""
        return self.catalog

    @property
    def probed(self) -> tuple[ProbeObject, ...]:
        """Return an object in each of the two buckets, since each bucket has its own volumes."""
        memory = self._losses
        return ProbeObject(self.store, HEALTH_KEY, memory), ProbeObject(
            self._tables, TABLES_KEY, memory
        )

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """Return the check that no volume and no part of the index is lost."""
        return (self._losses.prove,)

    @property
    def pid(self) -> int | None:
        """Return the pid of SeaweedFS, if this gateway runs it."""
        return self._child.pid if self._child and self._child.returncode is None else None

    async def healthy(self) -> bool:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT):
                await self.store.get(PROBE_KEY)
                await self.catalog.run(lambda catalog: catalog.list_namespaces())
        except (AsgardError, TimeoutError):
            return False
        return True

    async def open(self) -> None:
        imports = asyncio.create_task(anyio.to_thread.run_sync(_import_clients))
        try:
            async with asyncio.timeout(START_TIMEOUT):
                shared = await self._own_or_attach()
        except TimeoutError:
            raise StartFailed(f"the lakehouse did not respond in {START_TIMEOUT:.0f} s") from None
        finally:
            await imports
        self._supervisor = asyncio.create_task(self._supervise(shared), name="lakehouse")

    async def close(self) -> None:
        """End SeaweedFS, then release the lock, so that the next owner finds the ports free."""
        if self._supervisor:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        try:
            await self._close_clients()
            if self._child and self._shared:
                await seaweedfs.stop(self._home, self._shared, self._child)
        finally:
            self._home.attached.close()
            self._home.owner.close()

    async def _own_or_attach(self) -> Shared:
        while True:
            if self._home.owner.try_exclusive():
                self.is_owner = True
                return await self._start_fresh()
            if (shared := self._home.read()) and self._home.attached.try_shared():
                shared = self._home.read() or shared
                self._use(shared)
                if await self._is_proven(READ_TIMEOUT):
                    log.info("attached to the lakehouse that another gateway runs")
                    return shared
            await asyncio.sleep(POLL)

    async def _start_fresh(self) -> Shared:
        """Start as owner. No `Lake` is in use here yet, so the ports may change, unless another
        gateway is attached."""
        await seaweedfs.end_leftover(self._home)
        alone = self._home.attached.try_exclusive()
        shared = self._home.read()
        hung = False
        for _ in range(PORT_ATTEMPTS):
            if shared is None or (alone and (hung or not await self._are_usable(shared))):
                shared = new_shared(shared)
                self._home.write(shared)
            self._use(shared)
            self._child = await self._start(shared)
            if await self._ready(self._child):
                break
            hung = self._child.returncode is None
            await self._child.terminate(seaweedfs.STOP_GRACE)
            if not hung and not (alone and seaweedfs.taken_ports(shared)):
                raise StartFailed(f"SeaweedFS ended: {self._child.log_tail(5)}")
        else:
            raise StartFailed(f"SeaweedFS did not start in {PORT_ATTEMPTS} attempts")
        await _until(self._home.attached.try_shared, POLL)
        return shared

    async def _start(self, shared: Shared) -> ChildProcess:
        sources = self._settings.source_prefixes
        return await seaweedfs.start(self._home, shared, self.lake, sources)

    async def _are_usable(self, shared: Shared) -> bool:
        return seaweedfs.remove_sockets(shared) and await self._ports_come_free(shared)

    async def _ports_come_free(self, shared: Shared) -> bool:
        """Wait for the ports: the kernel may still be ending a SeaweedFS that was killed."""
        deadline = time.monotonic() + PORTS_FREED_WITHIN
        while seaweedfs.taken_ports(shared):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL)
        return True

    def _use(self, shared: Shared) -> None:
        if shared == self._shared:
            return
        self._shared = shared
        self.lake = Lake(
            s3=seaweedfs.s3_connection(shared),
            catalog=seaweedfs.catalog_connection(shared),
            catalog_name=self._settings.trino_catalog,
            silver_schema=self._settings.silver_schema,
            gold_schema=self._settings.gold_schema,
            tables_under=f"s3://{seaweedfs.TABLE_BUCKET}",
        )
        self.builder_lake = lake_of(BUILDER, self.lake, shared)
        self.publisher_lake = lake_of(PUBLISHER, self.lake, shared)
        self.sail_lake = lake_of(SAIL, self.lake, shared)
        self.silver_publisher_lake = lake_of(SILVER_PUBLISHER, self.lake, shared)
        secrets = seaweedfs_identities.secrets(shared)
        register_secrets([shared.secret_key, *secrets, *seaweedfs_ports.jwt_keys(shared).values()])
        self.store = ObjectStore(self.lake.s3, self._telemetry)
        self.catalog = Catalog(self.lake, self._telemetry)
        tables = replace(self.lake.s3, bucket=seaweedfs.TABLE_BUCKET)
        self._tables = ObjectStore(tables, self._telemetry)
        self._losses = Losses(self._home, shared)

    async def _ready(self, child: ChildProcess) -> bool:
        """Wait until SeaweedFS is ready. Return False if it ended or hangs."""
        interval, patience = POLL, FIRST_PATIENCE
        give_up = time.monotonic() + self._patience.ready_within
        while child.returncode is None:
            if time.monotonic() > give_up:
                log.warning("SeaweedFS hangs while starting: %s", child.log_tail(3))
                return False
            if await self._is_proven(patience):
                return child.returncode is None
            await asyncio.sleep(interval)
            interval = min(interval * 1.1, SLOW_POLL)
            patience = min(patience * 1.1, READ_TIMEOUT)
        await child.wait()
        return False

    async def _is_proven(self, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                await self._prove()
        except (AsgardError, PreconditionFailed, TimeoutError, ValueError) as reason:
            # A half-started SeaweedFS, or another program on one of our ports, may answer anything.
            log.debug("the lakehouse is not ready: %s", reason)
            return False
        return True

    async def _prove(self) -> None:
        """Check what Asgard needs: stored objects can be read (SeaweedFS answers before it knows
        where they are), conditional writes work, and the catalog accepts our token."""
        if not await _accepts(self.lake):
            raise EngineUnreachable("SeaweedFS is not listening yet")
        body = b"read, and written again on a condition, at every start"
        if existing := await self.store.get(PROBE_KEY):
            await self.store.replace(PROBE_KEY, body, existing.etag)
        else:
            await self.store.create(PROBE_KEY, body)
        await self.catalog.ensure_namespaces()
        if self.is_owner:
            await seaweedfs_identities.allow_tables(self.lake)

    async def _supervise(self, shared: Shared) -> None:
        await _until(self._home.owner.try_exclusive, OWNER_POLL)
        if not self.is_owner:
            log.warning("the gateway that ran the lakehouse is gone: this one takes over")
            self.is_owner = True
            await seaweedfs.end_leftover(self._home)
        backoff = FIRST_BACKOFF
        while True:
            started = time.monotonic()
            if self._child:
                await self._watch(self._child)
                if time.monotonic() - started > STABLE_AFTER:
                    backoff = FIRST_BACKOFF
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF)
            try:
                await self._restart(shared)
            except OSError:
                log.exception("SeaweedFS could not be started")
                await asyncio.sleep(LONGEST_BACKOFF)

    async def _restart(self, shared: Shared) -> None:
        if not await self._ports_come_free(shared):
            log.error("another process listens on ports %s", seaweedfs.taken_ports(shared))
            await asyncio.sleep(LONGEST_BACKOFF)
            return
        self._child = child = await self._start(shared)
        self.restarts += 1
        if await self._ready(child):
            log.info("the lakehouse is ready (SeaweedFS is process %s)", child.pid)
        elif child.returncode is None:
            await child.terminate(seaweedfs.STOP_GRACE)

    async def _watch(self, child: ChildProcess) -> None:
        watching = [
            asyncio.create_task(watch(child))
            for watch in (self._end_after_full_disk, self._end_when_mute)
        ]
        try:
            exit_code = await child.wait()
        finally:
            for watch in watching:
                watch.cancel()
        log.error("SeaweedFS ended (%s): %s", exit_code, child.log_tail(3))

    async def _end_after_full_disk(self, child: ChildProcess) -> None:
        """Restart SeaweedFS after a full disk. After one failed write its index accepts nothing
        until a restart, however much room there is. While the disk is full, it can still read, so
        it keeps running."""
        was_full = False
        while not was_full or self._free_bytes() < ROOM:
            was_full = was_full or self._free_bytes() < FULL
            await asyncio.sleep(DISK_POLL)
        log.warning("the disk was full and has room again: restarting SeaweedFS")
        await child.terminate(seaweedfs.STOP_GRACE)

    async def _end_when_mute(self, child: ChildProcess) -> None:
        """Restart a SeaweedFS that has stopped answering without ending, which happens. Time in
        which this process itself stood still is not counted: nobody was asked then."""
        patience, silent_for = self._patience, 0.0
        while silent_for < patience.mute_for:
            await asyncio.sleep(patience.mute_poll)
            asked = time.monotonic()
            if await self.healthy():
                silent_for = 0.0
            else:
                waited = min(time.monotonic() - asked, HEALTH_TIMEOUT)
                silent_for += patience.mute_poll + waited
        log.error("SeaweedFS has not answered for %.0f s: restarting it", patience.mute_for)
        child.kill()

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._home.path).free

    async def _close_clients(self) -> None:
        if self._shared:
            await self.store.close()
            await self._tables.close()
            await self.catalog.close()


@asynccontextmanager
async def embedded_lakehouse(
    settings: Settings,
    patience: Patience = DEFAULT_PATIENCE,
    telemetry: Telemetry = SILENT,
) -> AsyncIterator[EmbeddedLakehouse]:
    """Open the embedded lakehouse. Then S3 and the catalog answer, and the namespaces exist. Raises
    `StartFailed`."""
    lakehouse = EmbeddedLakehouse(settings, patience, telemetry)
    try:
        await lakehouse.open()
        yield lakehouse
    finally:
        await lakehouse.close()


async def _until(condition: Callable[[], bool], interval: float) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(interval)


async def _accepts(lake: Lake) -> bool:
    """Return whether both ports accept connections. This costs little compared with a client's
    chain of errors."""
    for address in (lake.s3.endpoint or "", lake.catalog.uri):
        if not is_ours(address):
            return False
        port = int(address.rpartition(":")[2])
        try:
            _, writer = await asyncio.open_connection(seaweedfs.HOST, port)
        except OSError:
            return False
        writer.close()
    return True


def _import_clients() -> None:
    """Import the clients in a thread while SeaweedFS starts. The imports take a second."""
    import boto3  # noqa: F401
    import pyarrow.fs  # noqa: F401
    import pyiceberg.catalog.rest
    import pyiceberg.io.pyarrow  # noqa: F401
