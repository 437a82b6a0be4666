"""Detects losses of SeaweedFS by comparing its volumes with those that a gateway saw earlier.

SeaweedFS itself detects little: it keeps deleted files open, and after a restart, an empty index
looks like a new lake. The memory is a file in `ASGARD_HOME`, outside SeaweedFS's own folder.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import anyio.to_thread

from app.errors import EngineUnreachable
from app.files import replace_atomically
from app.lakehouse.embedded import seaweedfs_ports
from app.lakehouse.embedded.home import Home, Shared

MEMORY = "lakehouse-seen.json"
INDEX = "filerldb2/*/CURRENT"
"""LevelDB's entry point of each part of the index. SeaweedFS creates them at its first start."""
SHORTEST_ENTRY = 16
"""Bytes that each object takes in a volume's `.idx`, at least."""
RECHECK_AFTER = 0.5
"""Seconds. A fault counts only if a second check finds it: a vacuum replaces a volume's files."""
STATUS_TIMEOUT = 5.0
MOST_NAMED = 5


@dataclass(frozen=True)
class Volume:
    name: str
    """The name of its files, for example `lake_1`."""
    size: int
    objects: int
    """Deleted ones are counted until a vacuum, which raises `revision`."""
    deleted: int
    revision: int

    @property
    def seen(self) -> list[int]:
        return [self.revision, self.objects]


@dataclass(frozen=True)
class Seen:
    objects: list[str] = field(default_factory=list)
    """The buckets whose probe object was written and read again."""
    volumes: dict[str, list[int]] = field(default_factory=dict)
    """Revision and number of objects, by name. Empty volumes are left out, because SeaweedFS may
    delete them."""
    index: list[str] = field(default_factory=list)


class Losses:
    """The losses of one home. Other gateways of this home may write the same memory."""

    def __init__(self, home: Home, shared: Shared) -> None:
        self._folder = home.path / "seaweedfs"
        self._certificate = home.path / "seaweedfs.pem"
        self._memory = home.path / MEMORY
        self._port = shared.ports["volume.port"]

    def is_proven(self, bucket: str) -> bool:
        return bucket in self._seen().objects

    def proven(self, bucket: str) -> None:
        seen = self._seen()
        if bucket not in seen.objects:
            self._remember(Seen([*seen.objects, bucket], seen.volumes, seen.index))

    async def prove(self) -> None:
        """Raise `EngineUnreachable` if a volume or a part of the index is lost."""
        if lost := await self._check():
            await asyncio.sleep(RECHECK_AFTER)
            again = await self._check()
            lost = [fault for fault in lost if fault in again]
        if lost:
            more = f" and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
            detail = f"the embedded lake has lost data: {'; '.join(lost[:MOST_NAMED])}{more}"
            raise EngineUnreachable(detail, dependency="s3", public=detail)

    async def _check(self) -> list[str]:
        return await anyio.to_thread.run_sync(lambda: self._compare(self._volumes()))

    def _volumes(self) -> list[Volume]:
        try:
            context = ssl.create_default_context(cafile=self._certificate)
            context.load_cert_chain(self._certificate)
            connection = HTTPSConnection(
                seaweedfs_ports.HOST.compressed, self._port, timeout=STATUS_TIMEOUT, context=context
            )
            with closing(connection):
                connection.request("GET", "/status")
                answer = json.load(connection.getresponse())
            return [_volume(volume) for volume in answer["Volumes"] or ()]
        except (HTTPException, OSError, ValueError, KeyError) as error:
            message = str(error) or type(error).__name__
            raise EngineUnreachable(
                f"SeaweedFS does not list its volumes: {message}", dependency="s3"
            ) from error

    def _compare(self, volumes: list[Volume]) -> list[str]:
        """Return what is lost. If nothing is lost, remember what was seen."""
        seen, current = self._seen(), {volume.name: volume for volume in volumes}
        index = sorted(str(path.relative_to(self._folder)) for path in self._folder.glob(INDEX))
        lost = [f"{part} of the index is missing" for part in seen.index if part not in index]
        lost += [
            fault
            for name in sorted(current.keys() | seen.volumes.keys())
            if (fault := self._fault(name, current.get(name), seen.volumes)) is not None
        ]
        if not lost:
            nonempty = {item.name: item.seen for item in volumes if item.objects > item.deleted}
            now = Seen(seen.objects, nonempty, index)
            if now != seen:
                self._remember(now)
        return lost

    def _fault(self, name: str, volume: Volume | None, seen: Mapping[str, list[int]]) -> str | None:
        path = self._folder / name
        if volume is None:
            # Erasure coding replaces the files of a full volume.
            encoded = path.with_name(f"{name}.ecx").exists()
            return None if encoded else f"volume {name} is missing"
        for suffix, minimum in ((".dat", volume.size), (".idx", volume.objects * SHORTEST_ENTRY)):
            size = _size(path.with_name(name + suffix))
            if size is None:
                return f"{name}{suffix} is missing"
            if size < minimum:
                return f"{name}{suffix} has {size} bytes, expected at least {minimum}"
        revision, objects = seen.get(name, volume.seen)
        if revision == volume.revision and volume.objects < objects:
            return f"volume {name} has {volume.objects} objects, expected at least {objects}"
        return None

    def _seen(self) -> Seen:
        try:
            return Seen(**json.loads(self._memory.read_text()))
        except FileNotFoundError:
            return Seen()

    def _remember(self, seen: Seen) -> None:
        replace_atomically(self._memory, json.dumps(asdict(seen)).encode())


def _volume(status: Mapping[str, Any]) -> Volume:
    collection = status["Collection"]
    return Volume(
        name=f"{collection}_{status['Id']}" if collection else str(status["Id"]),
        size=status["Size"],
        objects=status["FileCount"],
        deleted=status["DeleteCount"],
        revision=status["CompactRevision"],
    )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
