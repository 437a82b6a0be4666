"""One sync of the embedded engine: a read, uploads, and one commit that publishes everything."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from app.airbyte.engine import Ingestion, Source
from app.airbyte.local.source import LocalFile, LocalSource, ReadOrder
from app.airbyte.local.stream_keys import GLOBAL, LEGACY, require_distinct_keys, stream_key
from app.concurrency.backoff import retry_while_unreachable
from app.errors import AsgardError, Conflict, EngineFailed
from app.failure import FailureCause
from app.lakehouse.bronze.manifests import (
    BronzeFile,
    BronzeManifests,
    Manifest,
    Pending,
    VersionedManifest,
    total_rows,
)
from app.lakehouse.outputs import StreamOutput
from app.runs.handler import RunControl, RunResult
from app.runs.model import RunInput

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectStore

ConfigChanged = Callable[[dict[str, Any]], Awaitable[None]]
GLOBAL_STATES = frozenset({GLOBAL, LEGACY})
MOST_STATE = 8 * 2**20
"""Characters of all states of an ingestion. Each checkpoint writes them, and each reader of bronze
reads them."""


class LocalSync:
    """The `Sink` of one run. Its uploads and checkpoints wait out an outage of S3."""

    def __init__(
        self,
        store: "ObjectStore",
        manifests: BronzeManifests,
        ingestion: Ingestion,
        control: RunControl,
        config_changed: ConfigChanged,
    ) -> None:
        self._store = store
        self._manifests = manifests
        self._ingestion = ingestion
        self._control = control
        self._run_id = control.run.run_id
        self._streams = {stream.path: stream for stream in ingestion.streams}
        self._incremental = frozenset(
            path
            for path, stream in self._streams.items()
            if stream.sync_mode.source_mode == "incremental"
        )
        self._config_changed = config_changed
        self._files: dict[str, list[BronzeFile]] = {path: [] for path in self._streams}
        """Files that no checkpoint covers yet."""
        self._pending = Pending(state={})
        self._written: set[str] = set()
        self._broken: dict[str, int] = dict.fromkeys(self._streams, 0)
        self._rows: dict[str, int] = {}
        self._versioned: VersionedManifest | None = None

    async def run(
        self,
        reader: LocalSource,
        source: Source,
        config: dict[str, Any],
        secrets: tuple[str, ...],
    ) -> RunResult:
        require_distinct_keys(self._streams.values())
        inputs = (RunInput(table=f"source/{source.name}", source=source.name),)
        await self._control.progress(
            engine_state="reading",
            inputs=inputs,
            reason="Reading",
            message=f"Reading {source.name}",
        )
        self._versioned = versioned = await self._begin(source)
        if versioned.manifest.commit_of(self._run_id):
            return outcome_of(versioned.manifest, self._run_id, inputs)
        self._resume(versioned.manifest)
        order = ReadOrder(
            run_id=self._run_id,
            source_type=source.type,
            config=config,
            secrets=secrets,
            streams=self._ingestion.streams,
            states=self._incremental_states(self._pending.state),
        )
        try:
            states = await reader.read(order, self)
            await self._control.fence()
            manifest = await self._commit(states)
        except AsgardError:
            # Uploads that no checkpoint covers are useless.
            await self._manifests.sweep(self._versioned.manifest)
            raise
        return outcome_of(manifest, self._run_id, inputs)

    async def file(self, file: LocalFile) -> None:
        versioned = self._versioned
        if versioned is None or versioned.manifest.writing is None:
            raise ValueError("a file came before the sync started")
        key = versioned.manifest.writing.key(file.bronze_path, file.part)
        if key in self._written:
            raise EngineFailed(
                f"The source sent part {file.part} of {file.bronze_path} twice.",
                cause=FailureCause.INTERNAL,
            )
        self._written.add(key)
        await retry_while_unreachable(
            lambda: self._store.upload(file.path, key), "uploading bronze files"
        )
        file.path.unlink()
        self._files[file.bronze_path].append(
            BronzeFile(key=key, rows=file.rows, bytes=file.bytes, run_id=self._run_id)
        )
        self._broken[file.bronze_path] += file.broken_rows

    async def checkpoint(self, states: dict[str, str], paths: frozenset[str]) -> None:
        files = dict(self._pending.files)
        for path in paths & self._incremental:
            files[path] = (*files.get(path, ()), *self._files[path])
            self._files[path] = []
        incremental = self._incremental_states(states)
        if not incremental or self._versioned is None:
            return
        self._pending = Pending(state=_bounded({**self._pending.state, **incremental}), files=files)
        versioned, pending = self._versioned, self._pending
        self._versioned = await retry_while_unreachable(
            lambda: self._manifests.checkpoint(versioned, pending), "writing a checkpoint"
        )

    async def progress(self, rows: dict[str, int]) -> None:
        self._rows |= rows
        total = sum(self._rows.values())
        await self._control.progress(engine={"rows_read": dict(self._rows)})
        self._control.log(f"INFO {total} rows read")

    def log(self, text: str) -> None:
        self._control.log(text)

    async def config_changed(self, config: dict[str, Any]) -> None:
        await self._config_changed(config)

    async def _begin(self, source: Source) -> VersionedManifest:
        return await self._manifests.begin(
            self._ingestion.id, self._run_id, source.name, self._streams
        )

    def _resume(self, manifest: Manifest) -> None:
        """Resumes where the last complete sync ended, or where a later one was killed."""
        previous = manifest.pending
        files = previous.files if previous else {}
        self._pending = Pending(
            state=self._incremental_states(
                {**manifest.state, **(previous.state if previous else {})}
            ),
            files={path: pending for path, pending in files.items() if path in self._incremental},
        )
        if self._pending.files:
            rows = total_rows(f for files in self._pending.files.values() for f in files)
            self.log(f"INFO continuing after {rows} rows that an unfinished sync had read")

    def _incremental_states(self, states: Mapping[str, str]) -> dict[str, str]:
        """Returns the states of incremental streams. The next sync can use only these."""
        streams = [self._streams[path] for path in self._incremental]
        keys = {stream_key(stream.name, stream.namespace) for stream in streams}
        retained = keys | (GLOBAL_STATES if keys else frozenset())
        return {key: state for key, state in states.items() if key in retained}

    async def _commit(self, states: dict[str, str]) -> Manifest:
        written = {
            path: (*self._pending.files.get(path, ()), *files)
            for path, files in self._files.items()
        }
        replaced = frozenset(
            path
            for path, stream in self._streams.items()
            if stream.sync_mode.destination_mode == "overwrite"
        )
        outputs = tuple(self._output(path, files) for path, files in written.items())
        next_states = _bounded(self._incremental_states(states))

        async def once() -> Manifest:
            versioned = self._versioned
            if versioned is None:
                raise ValueError("a commit came before the sync started")
            try:
                return await self._manifests.commit(
                    versioned,
                    written,
                    replaced=replaced,
                    state=next_states,
                    outputs=outputs,
                )
            except Conflict:
                # Our own write may have succeeded while its response was lost.
                current = await self._manifests.get(self._ingestion.id)
                if current is not None and current.commit_of(self._run_id):
                    return current
                raise

        return await retry_while_unreachable(once, "committing a sync")

    def _output(self, path: str, files: tuple[BronzeFile, ...]) -> StreamOutput:
        stream = self._streams[path]
        return StreamOutput(
            stream=stream.name,
            path=path,
            rows=total_rows(files),
            bytes=sum(file.bytes for file in files),
            broken_rows=self._broken[path],
            files=tuple(file.key for file in files),
        )


def _bounded(states: dict[str, str]) -> dict[str, str]:
    if sum(map(len, states.values())) <= MOST_STATE:
        return states
    raise EngineFailed(
        f"The states of the connector have more than {MOST_STATE} characters in total.",
        hint="Split the ingestion into several with fewer incremental streams each.",
    )


def outcome_of(
    manifest: Manifest, run_id: str, inputs: tuple[RunInput, ...] | None = None
) -> RunResult:
    """Returns the result of a committed sync, from the manifest alone."""
    output = manifest.output_of(run_id)
    return RunResult(output=output, inputs=inputs, engine_state="succeeded")
