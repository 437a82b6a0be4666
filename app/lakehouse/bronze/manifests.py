"""Which files of `bronze/` count: one manifest object per ingestion.

A sync uploads its files first and then replaces the manifest, conditionally: that one write makes
them visible, all together. Files that no manifest names belong to a sync that did not complete,
and nobody reads them. Files that a full refresh replaced are kept until the next commit, for
readers that had just looked them up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import Field

from app.errors import Conflict
from app.frozen import Frozen
from app.lakehouse.outputs import StreamOutput

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectStore

PREFIX = "asgard/bronze/"
COMMITS_KEPT = 20


class BronzeFile(Frozen):
    key: str
    rows: int
    bytes: int
    run_id: str
    """The sync that wrote it."""


class StreamFiles(Frozen):
    files: tuple[BronzeFile, ...] = ()
    active: bool = True
    """False once no ingestion writes it: its files count until another ingestion's do."""


class SyncCommit(Frozen):
    run_id: str
    at: datetime
    streams: tuple[StreamOutput, ...]


class Pending(Frozen):
    """What unfinished incremental syncs have got so far: the next one goes on from here."""

    state: dict[str, Any]
    files: dict[str, tuple[BronzeFile, ...]] = Field(default_factory=dict)
    """By path. They count once a sync completes."""


class ActiveSync(Frozen):
    """The sync that has begun last. Its files are `{path}/{stem}_{part}.parquet`."""

    run_id: str
    began_at: datetime

    @property
    def stem(self) -> str:
        at = self.began_at
        return f"{at:%Y_%m_%d}_{int(at.timestamp() * 1000)}"

    def key(self, path: str, part: int) -> str:
        return f"{path}/{self.stem}_{part}.parquet"


class Manifest(Frozen):
    ingestion_id: str
    source: str
    format: str = "parquet"
    streams: dict[str, StreamFiles] = Field(default_factory=dict)
    """By path, `bronze/flights`."""
    state: dict[str, Any] = Field(default_factory=dict)
    """Where the next incremental sync begins, by stream, as the connector gave it."""
    pending: Pending | None = None
    writing: ActiveSync | None = None
    retired: tuple[str, ...] = ()
    """Keys of replaced files, deleted by the next commit."""
    commits: tuple[SyncCommit, ...] = ()
    """The newest last."""

    def commit_of(self, run_id: str) -> SyncCommit | None:
        return next((c for c in reversed(self.commits) if c.run_id == run_id), None)

    def named_keys(self) -> frozenset[str]:
        files = [file for stream in self.streams.values() for file in stream.files]
        if self.pending:
            files += [file for kept in self.pending.files.values() for file in kept]
        return frozenset(file.key for file in files) | frozenset(self.retired)


@dataclass(frozen=True)
class VersionedManifest:
    """A manifest as it was read: what is written next is written only on this one."""

    manifest: Manifest
    etag: str


@dataclass(frozen=True)
class BronzePath:
    """What a path stands for. `run_ids` are the syncs whose files these are."""

    path: str
    format: str
    files: tuple[str, ...]
    run_ids: tuple[str, ...]
    source: str


class BronzeManifests:
    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._seen: dict[str, VersionedManifest] = {}

    async def resolve(self, path: str) -> BronzePath | None:
        """The files of complete syncs at or below a path, or that file if it is one.
        None: no ingestion writes there, and what lies there is all there is."""
        path = path.strip("/")
        found = _at(path, await self.all())
        if not found:
            return None
        files = [file for _, _, file in found if file is not None]
        return BronzePath(
            path=path,
            format="parquet",
            files=tuple(file.key for file in files),
            run_ids=tuple(dict.fromkeys(file.run_id for file in files)),
            source=", ".join(dict.fromkeys(manifest.source for manifest, _, _ in found)),
        )

    async def all(self) -> list[Manifest]:
        """Only objects that have changed since the last time are read."""
        listed = {info.key: info.etag for info in await self._store.list(PREFIX)}
        for key in self._seen.keys() - listed.keys():
            self._seen.pop(key, None)
        for key, etag in listed.items():
            if key not in self._seen or self._seen[key].etag.strip('"') != etag.strip('"'):
                await self._read(key)
        return [self._seen[key].manifest for key in listed if key in self._seen]

    async def get(self, ingestion_id: str) -> Manifest | None:
        held = await self._read(manifest_key(ingestion_id))
        return held.manifest if held else None

    async def begin(
        self, ingestion_id: str, run_id: str, source: str, paths: Iterable[str]
    ) -> VersionedManifest:
        """Declares what a sync will write, before it writes: from now on these paths stand for
        complete syncs only. No two of an ingestion's syncs get the same file names."""
        held = await self._read(manifest_key(ingestion_id))
        former = held.manifest if held else Manifest(ingestion_id=ingestion_id, source=source)
        if former.commit_of(run_id) and held:
            return held
        writing = ActiveSync(run_id=run_id, began_at=datetime.now(UTC))
        if former.writing is not None:
            await self.sweep(former)
            if former.writing.stem == writing.stem:
                later = writing.began_at + timedelta(milliseconds=1)
                writing = writing.model_copy(update={"began_at": later})
        manifest = former.model_copy(
            update={
                "source": source,
                "writing": writing,
                "streams": declared(former.streams, frozenset(paths)),
            }
        )
        return await self._write(manifest, held)

    async def checkpoint(self, held: VersionedManifest, pending: Pending) -> VersionedManifest:
        return await self._write(held.manifest.model_copy(update={"pending": pending}), held)

    async def commit(
        self,
        held: VersionedManifest,
        written: Mapping[str, tuple[BronzeFile, ...]],
        *,
        replaced: frozenset[str],
        state: Mapping[str, Any],
        outputs: tuple[StreamOutput, ...],
    ) -> Manifest:
        """The one commit point of a sync. `replaced` paths lose the files that they had.

        Raises `Conflict` when the manifest is not the one that `held` was: another sync or a
        change of the ingestion came between.
        """
        former = held.manifest
        if former.writing is None:
            raise ValueError("a commit without a begin")
        await self._store.delete_many(former.retired)
        streams = dict(former.streams)
        retired: list[str] = []
        for path, files in written.items():
            kept = streams.get(path, StreamFiles())
            if path in replaced:
                retired += [file.key for file in kept.files]
                kept = StreamFiles()
            streams[path] = StreamFiles(files=(*kept.files, *files))
        commit = SyncCommit(run_id=former.writing.run_id, at=datetime.now(UTC), streams=outputs)
        manifest = former.model_copy(
            update={
                "streams": streams,
                "state": dict(state),
                "pending": None,
                "retired": tuple(retired),
                "commits": (*former.commits, commit)[-COMMITS_KEPT:],
            }
        )
        return (await self._write(manifest, held)).manifest

    async def redeclare(self, ingestion_id: str, paths: Iterable[str]) -> None:
        """After the ingestion writes other paths than before, or (none) is deleted."""
        held = await self._read(manifest_key(ingestion_id))
        if held is None:
            return
        wanted = frozenset(paths)
        former = held.manifest
        update: dict[str, Any] = {"streams": declared(former.streams, wanted)}
        if not wanted:
            update |= {"pending": None, "state": {}}
        written = await self._write(former.model_copy(update=update), held)
        await self.sweep(written.manifest)

    async def sweep(self, manifest: Manifest) -> None:
        """Deletes what the last sync wrote and the manifest does not name."""
        if manifest.writing is None:
            return
        named = manifest.named_keys()
        for path in manifest.streams:
            listed = await self._store.list(f"{path}/{manifest.writing.stem}_")
            await self._store.delete_many(i.key for i in listed if i.key not in named)

    async def _read(self, key: str) -> VersionedManifest | None:
        stored = await self._store.get(key)
        if stored is None:
            self._seen.pop(key, None)
            return None
        held = VersionedManifest(Manifest.model_validate_json(stored.body), stored.etag)
        self._seen[key] = held
        return held

    async def _write(self, manifest: Manifest, held: VersionedManifest | None) -> VersionedManifest:
        from app.lakehouse.storage import PreconditionFailed

        key = manifest_key(manifest.ingestion_id)
        body = manifest.model_dump_json().encode()
        try:
            if held is None:
                etag = await self._store.create(key, body)
            else:
                etag = await self._store.replace(key, body, held.etag)
        except PreconditionFailed:
            stored = await self._store.get(key)
            if stored is not None and stored.body == body:
                return VersionedManifest(manifest, stored.etag)
            raise Conflict(
                f"Another sync or change of ingestion {manifest.ingestion_id} came between.",
                conflicting_id=manifest.ingestion_id,
            ) from None
        return VersionedManifest(manifest, etag)


def manifest_key(ingestion_id: str) -> str:
    return f"{PREFIX}{ingestion_id}.json"


def declared(former: Mapping[str, StreamFiles], paths: frozenset[str]) -> dict[str, StreamFiles]:
    streams = {
        path: kept.model_copy(update={"active": path in paths})
        for path, kept in former.items()
        if path in paths or kept.files
    }
    return streams | {path: StreamFiles() for path in sorted(paths - streams.keys())}


def _at(path: str, manifests: list[Manifest]) -> list[tuple[Manifest, str, BronzeFile | None]]:
    """Every stream at or below the path with each of its files (None: it has none yet)."""
    claims: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        for stream in manifest.streams:
            inside = stream == path or stream.startswith(f"{path}/")
            if inside or path.startswith(f"{stream}/"):
                claims.setdefault(stream, []).append(manifest)
    found: list[tuple[Manifest, str, BronzeFile | None]] = []
    for stream, claimants in sorted(claims.items()):
        for manifest in _counting(stream, claimants):
            files = [
                file
                for file in manifest.streams[stream].files
                if not path.startswith(f"{stream}/") or file.key.startswith(path)
            ]
            found += [(manifest, stream, file) for file in files]
            if not files:
                found.append((manifest, stream, None))
    return found


def _counting(stream: str, claimants: list[Manifest]) -> list[Manifest]:
    """What deleted ingestions left counts until a living one has written there."""
    living = [m for m in claimants if m.streams[stream].active]
    wrote = any(output.path == stream for m in living for c in m.commits for output in c.streams)
    return living if wrote else claimants
