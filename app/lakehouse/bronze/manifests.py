"""Lists the valid files of `bronze/`, in one manifest object per ingestion.

A sync uploads its files first and then replaces the manifest conditionally. That one write makes
all of them visible at once. Files that no manifest names belong to an incomplete sync, and are
never read. Files that a full refresh replaced are kept until the next commit, for readers that have
just looked them up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import Field

from app.concurrency.uninterrupted import uninterrupted
from app.errors import Conflict, EngineFailed
from app.frozen import Frozen
from app.json_text import JsonText
from app.lakehouse.outputs import RunOutput, StreamOutput
from app.stored_json import stored_json

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectStore

PREFIX = "asgard/bronze/"
COMMITS_KEPT = 20


States = dict[str, JsonText]
"""The states of a connector, which only its worker parses."""


class BronzeFile(Frozen):
    key: str
    rows: int | None
    """None if nobody has counted them: in a file that is not Parquet."""
    bytes: int
    run_id: str
    """The sync that wrote it."""


class StreamFiles(Frozen):
    files: tuple[BronzeFile, ...] = ()
    active: bool = True
    """False once no ingestion writes it. Its files stay valid until another ingestion writes
    there."""


class SyncCommit(Frozen):
    run_id: str
    at: datetime
    streams: tuple[StreamOutput, ...]


class Pending(Frozen):
    """What unfinished incremental syncs have read so far. The next one continues from here."""

    state: States
    files: dict[str, tuple[BronzeFile, ...]] = Field(default_factory=dict)
    """Files by path. They become valid once a sync completes."""


class ActiveSync(Frozen):
    """The sync that started last. Its files are `{path}/{stem}_{part}.parquet`."""

    run_id: str
    began_at: datetime

    @property
    def stem(self) -> str:
        at = self.began_at
        return f"{at:%Y_%m_%d}_{int(at.timestamp() * 1000)}"

    def key(self, path: str, part: int) -> str:
        return f"{path}/{self.stem}_{part}.parquet"


class RefusedSync(Frozen):
    """A sync that its engine reports as successful, and whose files in bronze are not."""

    job: str
    message: str


class Manifest(Frozen):
    ingestion_id: str
    source: str
    format: str = "parquet"
    streams: dict[str, StreamFiles] = Field(default_factory=dict)
    """Streams by path, for example `bronze/flights`."""
    state: States = Field(default_factory=dict)
    """The states from which the next incremental sync starts, by stream key."""
    pending: Pending | None = None
    writing: ActiveSync | None = None
    refused: RefusedSync | None = None
    """The newest sync, if it was refused. Its files do not count until a later one succeeds."""
    retired: tuple[str, ...] = ()
    """Keys of replaced files, deleted by the next commit."""
    commits: tuple[SyncCommit, ...] = ()
    """Commits, with the newest last."""

    def commit_of(self, run_id: str) -> SyncCommit | None:
        return next((c for c in reversed(self.commits) if c.run_id == run_id), None)

    def output_of(self, run_id: str) -> RunOutput:
        """Return the output of a recorded sync, as counted in its files. Raises `ValueError` if it
        was not recorded."""
        commit = self.commit_of(run_id)
        if commit is None:
            raise ValueError(f"the sync {run_id} was not recorded")
        streams = commit.streams
        return RunOutput(
            table=f"ingestion/{self.ingestion_id}",
            rows=total_rows(file for s in streams for file in self.streams[s.path].files),
            rows_written=total_rows(streams),
            bytes=sum(stream.bytes for stream in streams),
            files=sum(len(stream.files) for stream in streams),
            streams=streams,
        )

    def named_keys(self) -> frozenset[str]:
        files = [file for stream in self.streams.values() for file in stream.files]
        if self.pending:
            files += [file for pending in self.pending.files.values() for file in pending]
        return frozenset(file.key for file in files) | frozenset(self.retired)


@dataclass(frozen=True)
class VersionedManifest:
    """A manifest as it was read. The next write replaces only this version."""

    manifest: Manifest
    etag: str


@dataclass(frozen=True)
class BronzePath:
    """The files of a path. `run_ids` are the syncs that wrote them."""

    path: str
    format: str
    files: tuple[str, ...]
    run_ids: tuple[str, ...]
    source: str


class BronzeManifests:
    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._cached: dict[str, VersionedManifest] = {}

    async def resolve(self, path: str) -> BronzePath | None:
        """Return the files of complete syncs at or below a path, or the file itself. Return None if
        no ingestion writes there, so that all existing files count."""
        path = path.strip("/")
        entries = _at(path, await self.all())
        if not entries:
            return None
        files = [file for _, _, file in entries if file is not None]
        return BronzePath(
            path=path,
            format="parquet",
            files=tuple(file.key for file in files),
            run_ids=tuple(dict.fromkeys(file.run_id for file in files)),
            source=", ".join(dict.fromkeys(manifest.source for manifest, _, _ in entries)),
        )

    async def all(self) -> list[Manifest]:
        """Return all manifests. Only objects that have changed since the last call are read."""
        listed = {info.key: info.etag for info in await self._store.list(PREFIX)}
        for key in self._cached.keys() - listed.keys():
            self._cached.pop(key, None)
        for key, etag in listed.items():
            if key not in self._cached or self._cached[key].etag.strip('"') != etag.strip('"'):
                await self._read(key)
        return [self._cached[key].manifest for key in listed if key in self._cached]

    async def get(self, ingestion_id: str) -> Manifest | None:
        current = await self._read(manifest_key(ingestion_id))
        return current.manifest if current else None

    async def begin(
        self, ingestion_id: str, run_id: str, source: str, paths: Iterable[str]
    ) -> VersionedManifest:
        """Declare what a sync will write, before it writes. From then on, these paths have only
        files of complete syncs. No two syncs of an ingestion get the same file names."""
        current = await self._read(manifest_key(ingestion_id))
        previous = (
            current.manifest if current else Manifest(ingestion_id=ingestion_id, source=source)
        )
        if previous.commit_of(run_id) and current:
            return current
        writing = ActiveSync(run_id=run_id, began_at=datetime.now(UTC))
        if previous.writing is not None:
            await self.sweep(previous)
            if previous.writing.stem == writing.stem:
                later = writing.began_at + timedelta(milliseconds=1)
                writing = writing.model_copy(update={"began_at": later})
        manifest = previous.model_copy(
            update={
                "source": source,
                "writing": writing,
                "streams": declared(previous.streams, frozenset(paths)),
            }
        )
        return await self._write(manifest, current)

    async def checkpoint(self, current: VersionedManifest, pending: Pending) -> VersionedManifest:
        return await self._write(current.manifest.model_copy(update={"pending": pending}), current)

    async def commit(
        self,
        current: VersionedManifest,
        written: Mapping[str, tuple[BronzeFile, ...]],
        *,
        replaced: frozenset[str],
        state: Mapping[str, str],
        outputs: tuple[StreamOutput, ...],
    ) -> Manifest:
        """Commit a sync. `replaced` paths lose their existing files.

        Raises `Conflict` when the manifest is not `current` any more: another sync or a change of
        the ingestion came first.
        """
        previous = current.manifest
        if previous.writing is None:
            raise ValueError("a commit without a begin")
        await self._store.delete_many(previous.retired)
        streams = dict(previous.streams)
        retired: list[str] = []
        for path, files in written.items():
            existing = streams.get(path, StreamFiles())
            if path in replaced:
                retired += [file.key for file in existing.files]
                existing = StreamFiles()
            streams[path] = StreamFiles(files=(*existing.files, *files))
        commit = SyncCommit(run_id=previous.writing.run_id, at=datetime.now(UTC), streams=outputs)
        manifest = previous.model_copy(
            update={
                "streams": streams,
                "state": dict(state),
                "pending": None,
                "retired": tuple(retired),
                "commits": (*previous.commits, commit)[-COMMITS_KEPT:],
            }
        )
        return (await self._write(manifest, current)).manifest

    async def redeclare(self, ingestion_id: str, paths: Iterable[str]) -> None:
        """Declare the new paths of a changed ingestion, or no paths for a deleted one."""
        current = await self._read(manifest_key(ingestion_id))
        if current is None:
            return
        declared_paths = frozenset(paths)
        previous = current.manifest
        update: dict[str, Any] = {"streams": declared(previous.streams, declared_paths)}
        if not declared_paths:
            update |= {"pending": None, "state": {}}
        written = await self._write(previous.model_copy(update=update), current)
        await self.sweep(written.manifest)

    async def sweep(self, manifest: Manifest) -> None:
        """Delete files of the last sync that the manifest does not name."""
        if manifest.writing is None:
            return
        named = manifest.named_keys()
        for path in manifest.streams:
            listed = await self._store.list(f"{path}/{manifest.writing.stem}_")
            await self._store.delete_many(i.key for i in listed if i.key not in named)

    async def _read(self, key: str) -> VersionedManifest | None:
        stored = await self._store.get(key)
        if stored is None:
            self._cached.pop(key, None)
            return None
        current = VersionedManifest(Manifest.model_validate_json(stored.body), stored.etag)
        self._cached[key] = current
        return current

    async def _write(
        self, manifest: Manifest, current: VersionedManifest | None
    ) -> VersionedManifest:
        from app.lakehouse.storage import PreconditionFailed

        key = manifest_key(manifest.ingestion_id)
        try:
            body = stored_json(manifest).encode()
        except ValueError as error:
            # A manifest that cannot be read would hide the files of every ingestion.
            raise EngineFailed(f"The state of the connector cannot be stored: {error}.") from None
        try:
            etag = await uninterrupted(
                self._store.replace(key, body, current.etag)
                if current
                else self._store.create(key, body)
            )
        except PreconditionFailed:
            stored = await self._store.get(key)
            if stored is not None and stored.body == body:
                return VersionedManifest(manifest, stored.etag)
            raise Conflict(
                f"Another sync or change of ingestion {manifest.ingestion_id} came first.",
                conflicting_id=manifest.ingestion_id,
            ) from None
        return VersionedManifest(manifest, etag)


def total_rows(counted: Iterable[BronzeFile | StreamOutput]) -> int | None:
    """Return the rows, or None if those of a file are not known."""
    rows = [each.rows for each in counted]
    return None if None in rows else sum(row for row in rows if row is not None)


def manifest_key(ingestion_id: str) -> str:
    return f"{PREFIX}{ingestion_id}.json"


def declared(previous: Mapping[str, StreamFiles], paths: frozenset[str]) -> dict[str, StreamFiles]:
    streams = {
        path: stream.model_copy(update={"active": path in paths})
        for path, stream in previous.items()
        if path in paths or stream.files
    }
    return streams | {path: StreamFiles() for path in sorted(paths - streams.keys())}


def _at(path: str, manifests: list[Manifest]) -> list[tuple[Manifest, str, BronzeFile | None]]:
    """Return every stream at or below the path with each of its files, or None if it has none
    yet."""
    claims: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        for stream in manifest.streams:
            inside = stream == path or stream.startswith(f"{path}/")
            if inside or path.startswith(f"{stream}/"):
                claims.setdefault(stream, []).append(manifest)
    entries: list[tuple[Manifest, str, BronzeFile | None]] = []
    claiming = {id(m): m for claimants in claims.values() for m in claimants}
    written = {key: _written(manifest) for key, manifest in claiming.items()}
    for stream, claimants in sorted(claims.items()):
        for manifest in _counting(stream, claimants, written):
            files = [
                file
                for file in manifest.streams[stream].files
                if not path.startswith(f"{stream}/") or file.key.startswith(path)
            ]
            entries += [(manifest, stream, file) for file in files]
            if not files:
                entries.append((manifest, stream, None))
    return entries


def _written(manifest: Manifest) -> frozenset[str]:
    return frozenset(stream.path for commit in manifest.commits for stream in commit.streams)


def _counting(
    stream: str, claimants: list[Manifest], written: Mapping[int, frozenset[str]]
) -> list[Manifest]:
    """Return the manifests that count. Files of deleted ingestions count until an existing
    ingestion has written there."""
    living = [m for m in claimants if m.streams[stream].active]
    return living if any(stream in written[id(m)] for m in living) else claimants
