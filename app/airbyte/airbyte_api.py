"""The production ingestion engine: Airbyte owns sources, destinations, connections and jobs."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog

from app.airbyte import airbyte_configs as configs
from app.airbyte.airbyte_claims import Claims
from app.airbyte.airbyte_layout import stream_path
from app.airbyte.airbyte_makes import CONNECTION, DESTINATION, SOURCE, Kind, Maker
from app.airbyte.airbyte_schedules import Follower
from app.airbyte.airbyte_sync import JOB_ID, LAST_JOB_ID, AirbyteJobs, lake_paths
from app.airbyte.airbyte_wire import (
    destination_of,
    ingestion_of,
    schedule_body,
    source_of,
    stream_of,
    streams_body,
)
from app.airbyte.airbyte_workspaces import Workspaces
from app.airbyte.client import AirbyteClient, Json
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
    StreamChoice,
)
from app.airbyte.paths import refuse_taken, require_bronze
from app.airbyte.stream_choices import configured
from app.caller import Caller
from app.config import Settings
from app.errors import EngineFailed, InvalidBody, InvalidRequest, NotFound, NotSupported
from app.lakehouse.bronze_listing import ListedBronze
from app.runs.driver import Outcome, RunControl
from app.runs.model import Run

if TYPE_CHECKING:
    from app.lakehouse.connection import Lake
    from app.lakehouse.storage import ObjectStore

log = structlog.get_logger()


class AirbyteApi:
    """`IngestionEngine` over Airbyte's public API."""

    def __init__(self, *, settings: Settings, lake: "Lake", store: "ObjectStore") -> None:
        self._s3 = lake.s3
        self.client = AirbyteClient(settings)
        self._workspaces = Workspaces(self.client, settings.airbyte_workspace)
        self._claims = Claims(store)
        self._maker = Maker(self.client, self._claims)
        self._manifests = ListedBronze(store, lake.s3)
        self._jobs = AirbyteJobs(self.client, self._manifests, settings.run_timeout)

        self.follower = Follower(self.client, self._manifests, self._jobs, self.ingestion)

    async def close(self) -> None:
        await self.follower.close()
        await self.client.close()

    async def connectors(self) -> tuple[Connector, ...]:
        return await self._workspaces.connectors()

    async def missing_connector(self, _: str) -> str | None:
        """None: Airbyte installs its connectors itself."""
        return None

    # Sources

    async def vet_source(self, draft: SourceDraft) -> None:
        await self._source_body(draft)

    async def create_source(self, source_id: str, draft: SourceDraft, caller: Caller) -> Source:
        body, same = await self._source_body(draft)
        try:
            made = await self._maker.make(SOURCE, source_id, body, same, caller.subject)
        except InvalidRequest as error:
            said = configs.without_secrets(error.detail, draft.config)
            raise InvalidBody(f"config: {said}") from None
        return source_of(made, caller.subject)

    async def sources(self) -> list[Source]:
        found = await self.client.pages("/sources", "sourceId", await self._workspaces.scope())
        creators = await self._claims.creators()
        return [source_of(source, creators.get(source["sourceId"])) for source in found]

    async def source(self, source_id: str) -> Source:
        found = await self._get(SOURCE, source_id)
        return source_of(found, await self._creator(found["sourceId"]))

    async def delete_source(self, source_id: str, caller: Caller) -> None:
        await self._delete(SOURCE, source_id, caller)

    async def check_source(self, source_id: str) -> CheckResult:
        """The public API has no check: whether it can be asked for its streams, now, is one."""
        try:
            streams = await self._streams(source_id, {"ignoreCache": "true"})
        except (EngineFailed, InvalidRequest) as error:
            return CheckResult(succeeded=False, message=error.detail)
        names = ", ".join(stream.name for stream in streams[:20])
        return CheckResult(succeeded=True, message=f"Can be read: {names}.")

    async def discover(self, source_id: str) -> tuple[Stream, ...]:
        return await self._streams(source_id, {"ignoreCache": "true"})

    # Destinations

    async def vet_destination(self, draft: DestinationDraft) -> None:
        await self._destination_body(draft)

    async def create_destination(
        self, destination_id: str, draft: DestinationDraft, caller: Caller
    ) -> Destination:
        body, same = await self._destination_body(draft)
        try:
            made = await self._maker.make(DESTINATION, destination_id, body, same, caller.subject)
        except InvalidRequest as error:
            said = configs.without_secrets(error.detail, body["configuration"])
            raise InvalidBody(f"config: {said}") from None
        return destination_of(made, caller.subject)

    async def destinations(self) -> list[Destination]:
        found = await self._destinations()
        creators = await self._claims.creators()
        return [
            destination_of(wire, creators.get(id_))
            for id_, wire in found.items()
            if wire["destinationType"] == S3
        ]

    async def destination(self, destination_id: str) -> Destination:
        found = await self._get(DESTINATION, destination_id)
        return destination_of(found, await self._creator(found["destinationId"]))

    async def delete_destination(self, destination_id: str, caller: Caller) -> None:
        await self._delete(DESTINATION, destination_id, caller)

    # Ingestions

    async def vet_ingestion(self, draft: IngestionDraft) -> None:
        await self._connection_body(draft)

    async def create_ingestion(
        self, ingestion_id: str, draft: IngestionDraft, caller: Caller
    ) -> Ingestion:
        claim = await self._claims.get(ingestion_id)
        body, destination = await self._connection_body(draft, vet_paths=claim is None)
        same = {name: body[name] for name in ("name", "sourceId", "destinationId")}
        made = await self._maker.make(CONNECTION, ingestion_id, body, same, caller.subject)
        ingestion = self._ingestion(made, destination, caller.subject)
        source = await self.source(ingestion.source_id)
        await self._jobs.declare(ingestion, source.name)
        return ingestion

    async def ingestions(self) -> list[Ingestion]:
        scope = await self._workspaces.scope()
        connections = await self.client.pages("/connections", "connectionId", scope)
        destinations = await self._destinations() if connections else {}
        creators = await self._claims.creators()
        return [
            self._ingestion(
                wire, destinations.get(wire["destinationId"]), creators.get(wire["connectionId"])
            )
            for wire in connections
        ]

    async def ingestion(self, ingestion_id: str) -> Ingestion:
        wire = await self._get(CONNECTION, ingestion_id)
        destination = await self._destination_of(wire["destinationId"])
        return self._ingestion(wire, destination, await self._creator(wire["connectionId"]))

    async def update_ingestion(
        self, ingestion_id: str, change: IngestionChange, caller: Caller
    ) -> Ingestion:
        former = await self.ingestion(ingestion_id)
        body: dict[str, Any] = {}
        if change.name is not None:
            body["name"] = change.name
        if change.status is not None:
            body["status"] = change.status.value
        if change.schedule is not None:
            body["schedule"] = schedule_body(change.schedule)
        if change.streams is not None or change.all_streams:
            wire = await self._get(CONNECTION, ingestion_id)
            destination = await self._get(DESTINATION, former.destination_id)
            streams = await self._configured(wire, destination, change.streams)
            refuse_taken(_paths(streams), await self.ingestions(), former.id)
            body["configurations"] = streams_body(streams)
        if body:
            await self.client.patch(f"/connections/{former.id}", body)
            log.info("airbyte_changed", kind=CONNECTION.name, id=former.id, by=caller.subject)
        changed = await self.ingestion(former.id)
        if changed.streams != former.streams:
            await self._manifests.redeclare(former.id, lake_paths(changed))
        return changed

    async def delete_ingestion(self, ingestion_id: str, caller: Caller) -> None:
        await self._delete(CONNECTION, ingestion_id, caller)
        await self._manifests.redeclare(ingestion_id, ())

    async def later_job(self, ingestion_id: str, run: Run | None) -> EngineJob | None:
        jobs = await self._jobs.newest(ingestion_id)
        known = (run.engine.get(JOB_ID) or run.engine.get(LAST_JOB_ID) or 0) if run else 0
        if not jobs or jobs[0].id <= known:
            return None
        job = jobs[0]
        return EngineJob(
            id=job.name,
            state=job.status.run_state,
            started_at=job.started_at,
            rows=job.rows,
            bytes=job.bytes,
        )

    # Runs

    async def install(self, _: str, __: RunControl) -> Mapping[str, Any]:
        raise NotSupported("Airbyte installs its connectors itself.")

    async def sync(self, ingestion_id: str, control: RunControl) -> Outcome:
        ingestion = await self.ingestion(ingestion_id)
        source = await self.source(ingestion.source_id)
        return await self._jobs.sync(ingestion, source.name, control)

    async def settle_sync(self, run: Run, ingestion_id: str) -> Outcome | None:
        try:
            ingestion = await self.ingestion(ingestion_id)
        except NotFound:
            return None
        return await self._jobs.settle(run, ingestion)

    async def _source_body(self, draft: SourceDraft) -> tuple[Json, Json]:
        workspace = await self._workspaces.resolve(draft.workspace)
        definition = await self._workspaces.definition_id(workspace, draft.type)
        config = configs.source_config(draft.type, draft.config, self._s3)
        type_ = configs.airbyte_name(draft.type)
        body: Json = {"name": draft.name, "workspaceId": workspace}
        if definition:
            body |= {"definitionId": definition, "configuration": config}
        else:
            body["configuration"] = {**config, "sourceType": type_}
        return body, {"name": draft.name, "workspaceId": workspace, "sourceType": type_}

    async def _destination_body(self, draft: DestinationDraft) -> tuple[Json, Json]:
        config = configs.s3_config(draft.config, self._s3)
        require_bronze(config["s3_bucket_name"], config["s3_bucket_path"], self._s3.bucket)
        same = {
            "name": draft.name,
            "workspaceId": await self._workspaces.resolve(draft.workspace),
        }
        body = {
            **same,
            "definitionId": configs.S3_DESTINATION_ID,
            "configuration": {**config, "destinationType": S3},
        }
        return body, {**same, "destinationType": S3}

    async def _connection_body(
        self, draft: IngestionDraft, *, vet_paths: bool = True
    ) -> tuple[Json, Json]:
        destination = await self._get(DESTINATION, draft.destination_id)
        source_id = str((await self._get(SOURCE, draft.source_id))["sourceId"])
        body: Json = {
            "name": draft.name,
            "sourceId": source_id,
            "destinationId": destination["destinationId"],
            "namespaceDefinition": "source",
            "schedule": schedule_body(draft.schedule),
            "status": draft.status.value,
        }
        streams = await self._configured(body, destination, draft.streams)
        if vet_paths:
            refuse_taken(_paths(streams), await self.ingestions(), None)
        return {**body, "configurations": streams_body(streams)}, destination

    async def _configured(
        self, connection: Json, destination: Json, wanted: tuple[StreamChoice, ...] | None
    ) -> tuple[ConfiguredStream, ...]:
        pair = {"destinationId": destination["destinationId"]}
        available = await self._streams(connection["sourceId"], pair)
        return configured(
            available,
            wanted,
            lambda s: stream_path(connection, destination, s.name, s.namespace, self._s3.bucket),
        )

    async def _streams(self, source_id: str, params: Json) -> tuple[Stream, ...]:
        known = str((await self._get(SOURCE, source_id))["sourceId"])
        found = await self.client.get_slow("/streams", {"sourceId": known, **params})
        return tuple(stream_of(stream) for stream in found)

    def _ingestion(self, wire: Json, destination: Json | None, creator: str | None) -> Ingestion:
        def path_of(name: str, namespace: str | None) -> str:
            return stream_path(wire, destination, name, namespace, self._s3.bucket)

        return ingestion_of(wire, path_of, creator)

    async def _destinations(self) -> dict[str, Json]:
        scope = await self._workspaces.scope()
        found = await self.client.pages("/destinations", "destinationId", scope)
        return {destination["destinationId"]: destination for destination in found}

    async def _destination_of(self, destination_id: str) -> Json | None:
        try:
            found: Json = await self.client.get(f"/destinations/{destination_id}")
        except NotFound:
            return None
        return found

    async def _get(self, kind: Kind, id_: str) -> Json:
        """By Airbyte's id, or by that of the request that made it."""
        _require_id(kind, id_)
        try:
            found: Json = await self.client.get(f"{kind.path}/{id_}")
        except (NotFound, InvalidRequest):
            claim = await self._claims.get(id_)
            if claim is None or claim.made is None:
                raise NotFound(f"Airbyte has no {kind.name} {id_}.") from None
            found = await self.client.get(f"{kind.path}/{claim.made}")
        return found

    async def _delete(self, kind: Kind, id_: str, caller: Caller) -> None:
        _require_id(kind, id_)
        await self.client.delete(f"{kind.path}/{id_}")
        log.info("airbyte_deleted", kind=kind.name, id=id_, by=caller.subject)
        await self._claims.forget(id_)

    async def _creator(self, airbyte_id: str) -> str | None:
        return (await self._claims.creators()).get(airbyte_id)


def _require_id(kind: Kind, id_: str) -> None:
    """It goes into an address: what is no id is not there."""
    if not re.fullmatch(r"[0-9A-Za-z-]{1,64}", id_):
        raise NotFound(f"Airbyte has no {kind.name} of that id.")


def _paths(streams: tuple[ConfiguredStream, ...]) -> list[str]:
    return [stream.path for stream in streams]
