"""The production ingestion engine: Airbyte owns sources, destinations, connections and jobs."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import structlog

from app.airbyte.bronze_paths import Writes, refuse_relative, refuse_taken
from app.airbyte.engine import (
    S3,
    CheckResult,
    ConfiguredStream,
    Connector,
    Destination,
    DestinationDraft,
    EngineJob,
    Ingestion,
    IngestionChange,
    IngestionDraft,
    Source,
    SourceDraft,
    Stream,
    StreamSelection,
)
from app.airbyte.remote import configs
from app.airbyte.remote.client import AirbyteClient, Json
from app.airbyte.remote.create import ResourceCreator
from app.airbyte.remote.drafts import destination_body, source_body
from app.airbyte.remote.errors import blames_airbyte
from app.airbyte.remote.jobs import JOB_ID, LAST_JOB_ID, AirbyteJobs, lake_paths
from app.airbyte.remote.mapping import (
    destination_of,
    ingestion_of,
    schedule_body,
    source_of,
    streams_body,
    streams_of,
)
from app.airbyte.remote.ownership import Claims
from app.airbyte.remote.resources import CONNECTION, DESTINATION, SOURCE, AirbyteResources
from app.airbyte.remote.s3_paths import stream_path
from app.airbyte.remote.schedule_follower import Follower
from app.airbyte.remote.sent_secrets import SentSecrets
from app.airbyte.remote.verification import verified_job
from app.airbyte.remote.workspaces import Workspaces
from app.airbyte.secrets import sure_secrets
from app.airbyte.streams import configured
from app.caller import Caller
from app.config import Settings
from app.errors import EngineFailed, InvalidBody, InvalidRequest, NotFound, NotSupported
from app.lakehouse.bronze.listing import ExternalBronzeManifests
from app.runs.handler import RunControl, RunResult
from app.runs.model import Run
from app.telemetry.calls import SILENT, Telemetry

if TYPE_CHECKING:
    from app.lakehouse.connection import Lake
    from app.lakehouse.storage import ObjectStore

log = structlog.get_logger()


@blames_airbyte
class RemoteIngestionEngine:
    """The `IngestionEngine` over Airbyte's public API."""

    def __init__(
        self,
        *,
        settings: Settings,
        lake: "Lake",
        store: "ObjectStore",
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._s3 = lake.s3
        self._prefixes = settings.s3_allowed_prefixes
        self._sent = SentSecrets()
        self.client = AirbyteClient(settings, telemetry, self._sent)
        self._workspaces = Workspaces(self.client, settings.airbyte_workspace)
        self._claims = Claims(store)
        self._resources = AirbyteResources(self.client, self._workspaces, self._claims)
        self._creator = ResourceCreator(self.client, self._claims, self._resources)
        self._taking_paths = asyncio.Lock()
        self._manifests = ExternalBronzeManifests(store, lake.s3, settings.home / "logs", telemetry)
        self._jobs = AirbyteJobs(self.client, self._manifests, settings.run_timeout)

        self.follower = Follower(self.client, self._manifests, self._jobs, self.ingestion)

    async def close(self) -> None:
        await self.follower.close()
        await self.client.close()
        await self._manifests.close()

    async def connectors(self) -> tuple[Connector, ...]:
        return await self._workspaces.connectors()

    async def missing_connector(self, _: str) -> str | None:
        """Returns None, since Airbyte installs its connectors itself."""
        return None

    # Sources

    async def validate_source(self, draft: SourceDraft) -> None:
        await source_body(draft, self._workspaces, self._s3, self._prefixes)

    async def create_source(self, source_id: str, draft: SourceDraft, caller: Caller) -> Source:
        body, same = await source_body(draft, self._workspaces, self._s3, self._prefixes)
        secrets = sure_secrets(draft.config)
        self._sent.add(source_id, secrets)
        try:
            created = await self._creator.create(SOURCE, source_id, body, same, caller.subject)
        except InvalidRequest as error:
            message = configs.without_secrets(error.detail, draft.config)
            raise InvalidBody(f"config: {message}") from None
        self._sent.add(created["sourceId"], secrets)
        return source_of(created, caller.subject)

    async def sources(self) -> list[Source]:
        sources = await self._resources.all(SOURCE)
        creators = await self._claims.creators()
        return [source_of(wire, creators.get(id_)) for id_, wire in sources.items()]

    async def source(self, source_id: str) -> Source:
        wire = await self._resources.get(SOURCE, source_id)
        return source_of(wire, await self._resources.creator(wire["sourceId"]))

    async def delete_source(self, source_id: str, caller: Caller) -> None:
        await self._resources.delete(SOURCE, source_id, caller)

    async def check_source(self, source_id: str) -> CheckResult:
        """The public API has no check, so this asks for the source's current streams."""
        try:
            streams = await self._streams(source_id, {"ignoreCache": "true"})
        except (EngineFailed, InvalidRequest) as error:
            return CheckResult(succeeded=False, message=error.detail)
        names = ", ".join(stream.name for stream in streams[:20])
        return CheckResult(succeeded=True, message=f"Readable streams: {names}.")

    async def discover(self, source_id: str) -> tuple[Stream, ...]:
        """Airbyte returns the modes of a stream only for a destination."""
        params = {"ignoreCache": "true"}
        source = await self._resources.get(SOURCE, source_id)
        if sink := await self._resources.s3_destination_in(source["workspaceId"]):
            params["destinationId"] = sink
        return await self._streams(source["sourceId"], params)

    # Destinations

    async def validate_destination(self, draft: DestinationDraft) -> None:
        await destination_body(draft, self._workspaces, self._s3)

    async def create_destination(
        self, destination_id: str, draft: DestinationDraft, caller: Caller
    ) -> Destination:
        body, same = await destination_body(draft, self._workspaces, self._s3)
        secrets = sure_secrets(body["configuration"])
        self._sent.add(destination_id, secrets)
        try:
            created = await self._creator.create(
                DESTINATION, destination_id, body, same, caller.subject
            )
        except InvalidRequest as error:
            message = configs.without_secrets(error.detail, body["configuration"])
            raise InvalidBody(f"config: {message}") from None
        self._sent.add(created["destinationId"], secrets)
        return destination_of(created, caller.subject)

    async def destinations(self) -> list[Destination]:
        destinations = await self._resources.all(DESTINATION)
        creators = await self._claims.creators()
        return [
            destination_of(wire, creators.get(id_))
            for id_, wire in destinations.items()
            if wire["destinationType"] == S3
        ]

    async def destination(self, destination_id: str) -> Destination:
        wire = await self._resources.get(DESTINATION, destination_id)
        return destination_of(wire, await self._resources.creator(wire["destinationId"]))

    async def delete_destination(self, destination_id: str, caller: Caller) -> None:
        await self._resources.delete(DESTINATION, destination_id, caller)

    # Ingestions

    async def validate_ingestion(self, draft: IngestionDraft) -> None:
        _, _, streams = await self._connection_body(draft)
        await self._refuse_taken(streams, None)

    async def create_ingestion(
        self, ingestion_id: str, draft: IngestionDraft, caller: Caller
    ) -> Ingestion:
        claim = await self._claims.get(ingestion_id)
        body, destination, streams = await self._connection_body(draft)
        same = {name: body[name] for name in ("name", "sourceId", "destinationId")}
        # Two requests at once would both find the paths free.
        async with self._taking_paths:
            if claim is None:
                await self._refuse_taken(streams, None)
            created = await self._creator.create(
                CONNECTION, ingestion_id, body, same, caller.subject
            )
        ingestion = self._ingestion(created, destination, caller.subject)
        source = await self.source(ingestion.source_id)
        await self._jobs.declare(ingestion, source.name)
        return ingestion

    async def ingestions(self) -> list[Ingestion]:
        connections = await self._resources.all(CONNECTION)
        destinations = await self._resources.all(DESTINATION) if connections else {}
        creators = await self._claims.creators()
        return [
            self._ingestion(wire, destinations.get(wire["destinationId"]), creators.get(id_))
            for id_, wire in connections.items()
        ]

    async def ingestion(self, ingestion_id: str) -> Ingestion:
        wire = await self._resources.get(CONNECTION, ingestion_id)
        destination = await self._resources.find(DESTINATION, wire["destinationId"])
        return self._ingestion(
            wire, destination, await self._resources.creator(wire["connectionId"])
        )

    async def update_ingestion(
        self, ingestion_id: str, change: IngestionChange, caller: Caller
    ) -> Ingestion:
        previous = await self.ingestion(ingestion_id)
        body: dict[str, Any] = {}
        streams: tuple[ConfiguredStream, ...] = ()
        if change.name is not None:
            body["name"] = change.name
        if change.status is not None:
            body["status"] = change.status.value
        if change.schedule is not None:
            body["schedule"] = schedule_body(change.schedule)
        if change.streams is not None or change.all_streams:
            wire = await self._resources.get(CONNECTION, ingestion_id)
            destination = await self._resources.get(DESTINATION, previous.destination_id)
            streams = await self._configured(wire, destination, change.streams)
            body["configurations"] = streams_body(streams, wire)
        if body:
            async with self._taking_paths:
                await self._refuse_taken(streams, previous.id)
                await self.client.patch(f"/connections/{previous.id}", body)
            log.info("airbyte_changed", kind=CONNECTION.name, id=previous.id, by=caller.subject)
        changed = await self.ingestion(previous.id)
        if changed.streams != previous.streams:
            await self._manifests.redeclare(previous.id, lake_paths(changed))
        return changed

    async def delete_ingestion(self, ingestion_id: str, caller: Caller) -> None:
        await self._resources.delete(CONNECTION, ingestion_id, caller)
        await self._manifests.redeclare(ingestion_id, ())

    async def later_job(self, ingestion_id: str, run: Run | None) -> EngineJob | None:
        jobs = await self._jobs.newest(ingestion_id)
        last = (run.engine.get(JOB_ID) or run.engine.get(LAST_JOB_ID) or 0) if run else 0
        if not jobs or jobs[0].id <= last:
            return None
        return verified_job(jobs[0], await self._manifests.get(ingestion_id))

    # Runs

    async def install(self, _: str, __: RunControl) -> Mapping[str, Any]:
        raise NotSupported("Airbyte installs its connectors itself.")

    async def sync(self, ingestion_id: str, control: RunControl) -> RunResult:
        ingestion = await self.ingestion(ingestion_id)
        self._sent.register_secrets(ingestion.source_id, ingestion.destination_id)
        source = await self.source(ingestion.source_id)
        return await self._jobs.sync(ingestion, source.name, control)

    async def reconcile_sync(self, run: Run, ingestion_id: str) -> RunResult | None:
        if not {JOB_ID, LAST_JOB_ID} & run.engine.keys():
            # It never requested a job. That is known without Airbyte, which may be unreachable.
            await self._manifests.release(ingestion_id, run.run_id)
            return None
        try:
            ingestion = await self.ingestion(ingestion_id)
        except NotFound:
            return None
        self._sent.register_secrets(ingestion.source_id, ingestion.destination_id)
        return await self._jobs.reconcile(run, ingestion)

    async def _connection_body(
        self, draft: IngestionDraft
    ) -> tuple[Json, Json, tuple[ConfiguredStream, ...]]:
        """Returns the body, the destination and the streams."""
        destination = await self._resources.get(DESTINATION, draft.destination_id)
        source_id = str((await self._resources.get(SOURCE, draft.source_id))["sourceId"])
        body: Json = {
            "name": draft.name,
            "sourceId": source_id,
            "destinationId": destination["destinationId"],
            "namespaceDefinition": "source",
            "schedule": schedule_body(draft.schedule),
            "status": draft.status.value,
        }
        streams = await self._configured(body, destination, draft.streams)
        return {**body, "configurations": streams_body(streams)}, destination, streams

    async def _configured(
        self, connection: Json, destination: Json, requested: tuple[StreamSelection, ...] | None
    ) -> tuple[ConfiguredStream, ...]:
        pair = {"destinationId": destination["destinationId"]}
        available = await self._streams(connection["sourceId"], pair)

        def path_of(stream: StreamSelection) -> str:
            path = stream_path(
                connection, destination, stream.name, stream.namespace, self._s3.bucket
            )
            refuse_relative(path)
            return path

        return await anyio.to_thread.run_sync(configured, available, requested, path_of)

    async def _refuse_taken(
        self, streams: tuple[ConfiguredStream, ...], own_id: str | None
    ) -> None:
        if not streams:
            return
        others = [Writes(o.id, o.name, _paths(o.streams)) for o in await self.ingestions()]
        refuse_taken(_paths(streams), others, own_id)

    async def _streams(self, source_id: str, params: Json) -> tuple[Stream, ...]:
        id_ = str((await self._resources.get(SOURCE, source_id))["sourceId"])
        self._sent.register_secrets(id_)
        streams = await self.client.get_slow("/streams", {"sourceId": id_, **params})
        return await anyio.to_thread.run_sync(streams_of, streams)

    def _ingestion(self, wire: Json, destination: Json | None, creator: str | None) -> Ingestion:
        def path_of(name: str, namespace: str | None) -> str:
            return stream_path(wire, destination, name, namespace, self._s3.bucket)

        return ingestion_of(wire, path_of, creator)


def _paths(streams: tuple[ConfiguredStream, ...]) -> list[str]:
    return [stream.path for stream in streams]
