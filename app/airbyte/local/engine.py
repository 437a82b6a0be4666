"""The embedded ingestion engine: files by DuckDB, Airbyte connectors from PyPI, records in Iceberg.

A source whose connector is not installed yet can be created at once. Its config is checked with
the shipped spec, or (for CONNECTORS_ALLOWED) when the connector is installed.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread

from app.airbyte.engine import (
    CheckResult,
    ConfiguredStream,
    Connector,
    Destination,
    DestinationDraft,
    Ingestion,
    IngestionChange,
    IngestionDraft,
    Schedule,
    Source,
    SourceDraft,
    Stream,
    StreamSelection,
)
from app.airbyte.local.connectors.packages import allowed_packages
from app.airbyte.local.connectors.source import CHECKPOINT_ROWS, CHECKPOINT_SECONDS, LocalAirbyte
from app.airbyte.local.records import (
    DestinationDoc,
    IngestionDoc,
    SourceDoc,
    configured,
    destination_prefix,
    refuse_schedule,
    refuse_taken_paths,
    to_destination,
    to_ingestion,
    to_source,
)
from app.airbyte.local.sandbox import WorkDirectories
from app.airbyte.local.secret_store import SecretStore
from app.airbyte.local.source import LocalSource
from app.airbyte.local.source_types import SOURCE_TYPES
from app.airbyte.local.sync import LocalSync, outcome_of
from app.airbyte.secrets import (
    joined,
    masked,
    secret_values,
    split,
    sure_secrets,
)
from app.caller import Caller
from app.config import Settings
from app.errors import Gone, NotFound
from app.lakehouse.bronze.manifests import BronzeManifests
from app.lakehouse.records.state import M, Record
from app.lakehouse.records.table import RecordTable
from app.redaction import register_caller_secrets
from app.runs.handler import RunControl, RunResult
from app.runs.model import Run
from app.telemetry.calls import SILENT, Telemetry

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog
    from app.lakehouse.connection import Lake
    from app.lakehouse.storage import ObjectStore

T = TypeVar("T")


class LocalIngestionEngine:
    """An `IngestionEngine` without Airbyte. Open it before use."""

    def __init__(
        self,
        *,
        settings: Settings,
        lake: "Lake",
        store: "ObjectStore",
        catalog: "Catalog",
        manifests: BronzeManifests,
        checkpoint_rows: int = CHECKPOINT_ROWS,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._home = settings.home
        self._bucket = lake.s3.bucket
        self._store = store
        self._manifests = manifests
        roots = (settings.home / "data", *settings.ingestion_allowed_dirs)
        self._directories = WorkDirectories(settings.home, roots=roots, telemetry=telemetry)
        self._secrets = SecretStore(settings.home / "secrets" / "sources")
        self._own: dict[str, LocalSource] = {
            type_: source(type_, settings, roots, store, self._directories)
            for type_, source in SOURCE_TYPES.items()
        }
        packages = allowed_packages(settings.connectors_allowed)
        self._airbyte = LocalAirbyte(
            settings.home,
            self._directories,
            packages,
            checkpoint_rows=checkpoint_rows,
            checkpoint_seconds=checkpoint_seconds,
        )
        space = lake.records_schema
        self._sources = RecordTable(catalog, "sources", SourceDoc, space)
        self._destinations = RecordTable(catalog, "destinations", DestinationDoc, space)
        self._ingestions = RecordTable(catalog, "ingestions", IngestionDoc, space)

    async def open(self) -> None:
        (self._home / "data").mkdir(parents=True, exist_ok=True)
        await self._directories.open()

    async def close(self) -> None:
        await self._directories.close()

    async def connectors(self) -> tuple[Connector, ...]:
        return await anyio.to_thread.run_sync(self._connectors)

    def _connectors(self) -> tuple[Connector, ...]:
        readers = (*self._own.values(), self._airbyte)
        return tuple(connector for reader in readers for connector in reader.connectors())

    async def missing_connector(self, source_type: str) -> str | None:
        return None if self._reader(source_type).is_installed(source_type) else source_type

    # Sources

    async def validate_source(self, draft: SourceDraft) -> None:
        await self._reader(draft.type).validate(draft.type, draft.config)

    async def create_source(self, source_id: str, draft: SourceDraft, caller: Caller) -> Source:
        await self.validate_source(draft)
        # In a thread: a config may have thousands of values, and without a spec each may be secret.
        config, secrets = await anyio.to_thread.run_sync(self._split, draft.type, draft.config)
        # First the secrets: a source without them would be broken, but they are harmless without
        # it.
        await anyio.to_thread.run_sync(self._secrets.put, source_id, secrets)
        doc = SourceDoc(name=draft.name, type=draft.type, config=config, workspace=draft.workspace)
        try:
            return to_source(await self._sources.insert(source_id, doc, caller.subject))
        except Gone:
            await anyio.to_thread.run_sync(self._secrets.delete, source_id)
            raise

    async def sources(self) -> list[Source]:
        # In a thread: each config is searched for secrets once.
        return await anyio.to_thread.run_sync(_each, to_source, await self._sources.all())

    async def source(self, source_id: str) -> Source:
        return to_source(await self._source(source_id))

    async def delete_source(self, source_id: str, caller: Caller) -> None:
        await self._sources.delete(source_id, caller)
        await anyio.to_thread.run_sync(self._secrets.delete, source_id)

    async def check_source(self, source_id: str) -> CheckResult:
        source = await self.source(source_id)
        config, secrets = await self._config(source)
        return await self._reader(source.type).check(source.type, config, secrets)

    async def discover(self, source_id: str) -> tuple[Stream, ...]:
        source = await self.source(source_id)
        config, secrets = await self._config(source)
        return await self._reader(source.type).discover(source.type, config, secrets)

    # Destinations

    async def validate_destination(self, draft: DestinationDraft) -> None:
        destination_prefix(draft.config, self._bucket)

    async def create_destination(
        self, destination_id: str, draft: DestinationDraft, caller: Caller
    ) -> Destination:
        """Creates a destination. The gateway's own keys reach the lake, and a client's are not
        stored at all."""
        doc = DestinationDoc(
            name=draft.name,
            config=masked(draft.config or {}),
            workspace=draft.workspace,
            prefix=destination_prefix(draft.config, self._bucket),
        )
        return to_destination(await self._destinations.insert(destination_id, doc, caller.subject))

    async def destinations(self) -> list[Destination]:
        return await anyio.to_thread.run_sync(_each, to_destination, await self._destinations.all())

    async def destination(self, destination_id: str) -> Destination:
        return to_destination(await self._destination(destination_id))

    async def delete_destination(self, destination_id: str, caller: Caller) -> None:
        await self._destinations.delete(destination_id, caller)

    # Ingestions

    async def validate_ingestion(self, draft: IngestionDraft) -> None:
        doc = await self._ingestion_doc(draft)
        refuse_taken_paths(doc, await self._ingestions.all(), None)

    async def create_ingestion(
        self, ingestion_id: str, draft: IngestionDraft, caller: Caller
    ) -> Ingestion:
        doc = await self._ingestion_doc(draft)
        record = await self._ingestions.insert(
            ingestion_id, doc, caller.subject, lambda doc, all_: refuse_taken_paths(doc, all_, None)
        )
        return to_ingestion(record)

    async def ingestions(self) -> list[Ingestion]:
        return [to_ingestion(record) for record in await self._ingestions.all()]

    async def ingestion(self, ingestion_id: str) -> Ingestion:
        record = await self._ingestions.get(ingestion_id)
        if record is None:
            raise NotFound(f"There is no ingestion {ingestion_id}.")
        return to_ingestion(record)

    async def update_ingestion(
        self, ingestion_id: str, change: IngestionChange, caller: Caller
    ) -> Ingestion:
        refuse_schedule(change.schedule or Schedule())
        previous = await self.ingestion(ingestion_id)
        update = change.model_dump(exclude_none=True, include={"name"})
        update |= {"status": change.status} if change.status else {}
        update |= {"schedule": change.schedule} if change.schedule else {}
        streams = previous.streams
        if change.streams is not None or change.all_streams:
            prefix = (await self._destination(previous.destination_id)).doc.prefix
            streams = await self._configured(previous.source_id, change.streams, prefix)
            update["streams"] = streams
        record = await self._ingestions.update(
            ingestion_id,
            lambda doc: doc.model_copy(update=update),
            caller,
            check=lambda doc, all_: refuse_taken_paths(doc, all_, ingestion_id),
        )
        if streams != previous.streams:
            await self._manifests.redeclare(ingestion_id, [stream.path for stream in streams])
        return to_ingestion(record)

    async def delete_ingestion(self, ingestion_id: str, caller: Caller) -> None:
        await self._ingestions.delete(ingestion_id, caller)
        await self._manifests.redeclare(ingestion_id, ())

    async def later_job(self, _: str, __: Run | None) -> None:
        """Returns None, since this engine starts no syncs by itself."""

    # Runs

    async def install(self, connector: str, control: RunControl) -> Mapping[str, Any]:
        async def report(text: str) -> None:
            control.log(f"INFO {text}")
            await control.progress(engine_state="installing", reason="Installing", message=text)

        return await self._reader(connector).install(connector, report)

    async def sync(self, ingestion_id: str, control: RunControl) -> RunResult:
        ingestion = await self.ingestion(ingestion_id)
        source = await self.source(ingestion.source_id)
        if await self.missing_connector(source.type):
            await self.install(source.type, control)
        config, secrets = await self._config(source)

        async def config_changed(new: dict[str, Any]) -> None:
            values = await anyio.to_thread.run_sync(self._secrets_of, source.type, new)
            register_caller_secrets(secret_values(values))
            await anyio.to_thread.run_sync(self._secrets.put, source.id, values)

        sync = LocalSync(self._store, self._manifests, ingestion, control, config_changed)
        return await sync.run(self._reader(source.type), source, config, secrets)

    async def reconcile_sync(self, run: Run, ingestion_id: str) -> RunResult | None:
        await self._directories.remove(run.run_id)
        manifest = await self._manifests.get(ingestion_id)
        if manifest is None:
            return None
        if manifest.commit_of(run.run_id):
            return outcome_of(manifest, run.run_id)
        if manifest.writing is not None and manifest.writing.run_id == run.run_id:
            await self._manifests.sweep(manifest)
        return None

    def _reader(self, type_: str) -> LocalSource:
        return self._own.get(type_, self._airbyte)

    async def _config(self, source: Source) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the config for the connector. Old records hold secrets that `source` masks."""
        stored = (await self._source(source.id)).doc.config
        secrets = await anyio.to_thread.run_sync(self._secrets.get, source.id)
        config, known, hidden = await anyio.to_thread.run_sync(
            self._joined, source.type, stored, secrets
        )
        register_caller_secrets(known)
        return config, hidden

    def _joined(
        self, type_: str, stored: dict[str, Any], secrets: dict[str, Any]
    ) -> tuple[dict[str, Any], set[str], tuple[str, ...]]:
        """Return the config, the values to hide in the gateway, and those that the connector's
        worker hides."""
        config = joined(stored, secrets)
        known = {*sure_secrets(config), *secret_values(self._secrets_of(type_, config))}
        unmasked = split(stored, set())[1]
        return config, known, secret_values(unmasked, secrets)

    def _secrets_of(self, type_: str, config: dict[str, Any]) -> dict[str, Any]:
        return self._split(type_, config)[1]

    def _split(self, type_: str, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return split(config, self._reader(type_).secret_pointers(type_, config))

    async def _available(self, source_id: str) -> tuple[Stream, ...]:
        source = await self.source(source_id)
        config, secrets = await self._config(source)
        return await self._reader(source.type).known_streams(source.type, config, secrets)

    async def _configured(
        self, source_id: str, requested: tuple[StreamSelection, ...] | None, prefix: str
    ) -> tuple[ConfiguredStream, ...]:
        available = await self._available(source_id)
        return await anyio.to_thread.run_sync(configured, available, requested, prefix)

    async def _ingestion_doc(self, draft: IngestionDraft) -> IngestionDoc:
        refuse_schedule(draft.schedule)
        prefix = (await self._destination(draft.destination_id)).doc.prefix
        streams = await self._configured(draft.source_id, draft.streams, prefix)
        return IngestionDoc(
            name=draft.name,
            source_id=draft.source_id,
            destination_id=draft.destination_id,
            schedule=draft.schedule,
            status=draft.status,
            streams=streams,
        )

    async def _source(self, source_id: str) -> Record[SourceDoc]:
        record = await self._sources.get(source_id)
        if record is None:
            raise NotFound(f"There is no source {source_id}.")
        return record

    async def _destination(self, destination_id: str) -> Record[DestinationDoc]:
        record = await self._destinations.get(destination_id)
        if record is None:
            raise NotFound(f"There is no destination {destination_id}.")
        return record


def _each(convert: Callable[[Record[M]], T], records: list[Record[M]]) -> list[T]:
    return [convert(record) for record in records]
