"""Tracks which replicas are alive: one S3 object per replica, refreshed every few seconds."""

import asyncio
import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from app.errors import EngineUnreachable

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectStore

PREFIX = "asgard/replicas/"
BEAT = 5.0
DEAD_AFTER = timedelta(seconds=30)
CONFIRMED_AFTER = 2 * BEAT
"""Seconds for which a stale object must remain unchanged. After an outage of S3, all are stale."""
log = structlog.get_logger()


@dataclass(frozen=True)
class ProcessIdentity:
    """Identifies a process, so that its end is certain at once on the same host."""

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    started: str

    @classmethod
    def own(cls) -> "ProcessIdentity":
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity":
        """Return the identity of a process on this host."""
        return cls(
            host=socket.gethostname(),
            boot_id=_boot_id(),
            pid_namespace=_pid_namespace(),
            pid=pid,
            started=_start_time(pid) or "",
        )

    def is_gone(self) -> bool:
        """Return whether the process has certainly ended."""
        here = (socket.gethostname(), _boot_id(), _pid_namespace())
        if here != (self.host, self.boot_id, self.pid_namespace):
            return False
        return _start_time(self.pid) != self.started


class Replicas:
    """Sends this replica's heartbeat, and checks those of others."""

    def __init__(self, store: "ObjectStore") -> None:
        self.id = uuid.uuid4().hex[:12]
        self._store = store
        self._beating: asyncio.Task[None] | None = None
        self._stale: dict[str, tuple[str, float]] = {}
        self._dead: set[str] = set()

    async def open(self) -> None:
        await self._beat()
        self._beating = asyncio.create_task(self._beat_forever())

    async def close(self) -> None:
        """Record at once that this replica is gone, if S3 can be reached."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        try:
            await self._store.delete(PREFIX + self.id)
        except EngineUnreachable as error:
            log.warning("replica_not_deregistered", error=error.detail)

    async def is_dead(self, owner: str | None) -> bool:
        """Return whether the owner is dead. A missing owner counts as dead. Raises
        `EngineUnreachable` when S3 does not answer."""
        if owner is None or owner in self._dead:
            return True
        if owner == self.id:
            return False
        heartbeat = await self._store.get(PREFIX + owner)
        if heartbeat is None or ProcessIdentity(**json.loads(heartbeat.body)).is_gone():
            self._dead.add(owner)
            await self._store.delete(PREFIX + owner)
            return True
        # Both times come from the storage, so a wrong local clock cannot declare a replica dead.
        if heartbeat.answered_at - heartbeat.last_modified <= DEAD_AFTER:
            self._stale.pop(owner, None)
            return False
        now = time.monotonic()
        version = heartbeat.last_modified.isoformat()
        seen, since = self._stale.get(owner, (version, now))
        self._stale[owner] = (version, now if seen != version else since)
        return now - self._stale[owner][1] >= CONFIRMED_AFTER

    async def _beat(self) -> None:
        body = json.dumps(asdict(ProcessIdentity.own())).encode()
        await self._store.put(PREFIX + self.id, body, content_type="application/json")

    async def _remove_dead(self) -> None:
        """Remove the objects of dead replicas, including those that own no run."""
        for info in await self._store.list(PREFIX):
            replica = info.key.removeprefix(PREFIX)
            if await self.is_dead(replica):
                await self._store.delete(info.key)

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            try:
                await self._beat()
                await self._remove_dead()
            except EngineUnreachable as error:
                log.warning("heartbeat_missed", error=error.detail)
            except Exception:
                # Without a heartbeat, other replicas would take over runs that are alive.
                log.exception("heartbeat_missed")


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        import psutil

        return str(psutil.boot_time())


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except FileNotFoundError:
        return ""


def _start_time(pid: int) -> str | None:
    """Return None if the process does not exist or is a zombie."""
    if Path("/proc/self/stat").exists():
        try:
            # The name, in parentheses, may contain anything. The fields come after it.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else fields[19]
    import psutil

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None
