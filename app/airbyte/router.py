"""The HTTP routes of `/airbyte`."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.airbyte.schemas import IngestionCreate, IngestionPatch, SinkCreate, SourceCreate
from app.airbyte.service import AirbyteService
from app.airbyte.views import (
    CheckView,
    ConnectorList,
    ConnectorView,
    IngestionList,
    IngestionStatusView,
    IngestionView,
    SinkList,
    SinkView,
    SourceList,
    SourceView,
    StreamList,
)
from app.http.dependencies import (
    AsksSource,
    CallerDep,
    IdempotencyDep,
    component,
    id_or_name,
    set_replayed,
)
from app.http.lists import listed
from app.http.raw_body import BriefRoute
from app.runs.views import RunView
from app.runs.waiting import AsyncSubmissionDep, SubmissionDep, WaitDep, accepted

router = APIRouter(prefix="/airbyte", tags=["airbyte"], route_class=BriefRoute)


def _service(request: Request) -> AirbyteService:
    return component(request, AirbyteService)


ServiceDep = Annotated[AirbyteService, Depends(_service)]


SourceRef = Annotated[
    str,
    Depends(id_or_name("source_id", "source", lambda r, name: _service(r).source_id(name))),
]
DestinationRef = Annotated[
    str,
    Depends(
        id_or_name(
            "destination_id", "destination", lambda r, name: _service(r).destination_id(name)
        )
    ),
]
IngestionRef = Annotated[
    str,
    Depends(
        id_or_name("ingestion_id", "ingestion", lambda r, name: _service(r).ingestion_id(name))
    ),
]


@router.get("/connectors")
async def list_connectors(service: ServiceDep, _: CallerDep) -> ConnectorList:
    """Lists the types of sources that the configured engine can run."""
    connectors = await service.connectors()
    views = [ConnectorView.of(connector) for connector in connectors]
    return ConnectorList(items=views, connectors=views, total_count=len(views))


@router.post(
    "/datasource",
    status_code=201,
    responses={202: {"model": SourceView, "description": "The connector is being installed."}},
)
async def create_source(
    body: SourceCreate,
    response: Response,
    service: ServiceDep,
    caller: CallerDep,
    submission: AsyncSubmissionDep,
    wait: WaitDep,
) -> SourceView:
    """Registers a source, which exists at once. If its connector is not installed yet, returns
    202 with the run that installs it in `run` and `Location`."""
    created = await service.create_source(body.draft(), submission)
    set_replayed(response, created.claim)
    if created.install is None:
        return SourceView.of(created.source)
    accepted(response, created.install, replace(wait, explicit=True))
    return SourceView.of(created.source, RunView.of(created.install, caller))


@router.get("/datasource", response_model=SourceList)
async def list_sources(service: ServiceDep, _: CallerDep) -> Response:
    """Lists all sources."""
    return await listed(SourceList.of, await service.sources())


@router.get("/datasource/{source_id}")
async def get_source(source_id: SourceRef, service: ServiceDep, _: CallerDep) -> SourceView:
    """Returns a source. Secrets in `config` are masked."""
    return SourceView.of(await service.source(source_id))


@router.delete("/datasource/{source_id}", status_code=204)
async def delete_source(source_id: SourceRef, service: ServiceDep, caller: CallerDep) -> None:
    """Deletes a source. Returns 409 while an ingestion reads it."""
    await service.delete_source(source_id, caller)


@router.post("/datasource/{source_id}/check", dependencies=[AsksSource])
async def check_source(source_id: SourceRef, service: ServiceDep, caller: CallerDep) -> CheckView:
    """Checks whether the source can be reached and read with its config."""
    result = await service.check_source(source_id, caller)
    return CheckView.of(result)


@router.get("/datasource/{source_id}/streams", response_model=StreamList, dependencies=[AsksSource])
async def list_source_streams(source_id: SourceRef, service: ServiceDep, _: CallerDep) -> Response:
    """Lists the streams that the source currently offers. Returns 409 if its connector is not
    installed: a check of the source installs it."""
    return await listed(StreamList.of, await service.streams(source_id))


@router.post("/sink", status_code=201)
async def create_destination(
    body: SinkCreate,
    response: Response,
    service: ServiceDep,
    caller: CallerDep,
    key: IdempotencyDep,
) -> SinkView:
    """Registers a destination. Without `config` it is the gateway's own lake."""
    destination, claim = await service.create_destination(body.draft(), caller, key)
    set_replayed(response, claim)
    return SinkView.of(destination)


@router.get("/sink", response_model=SinkList)
async def list_destinations(service: ServiceDep, _: CallerDep) -> Response:
    """Lists all destinations."""
    return await listed(SinkList.of, await service.destinations())


@router.get("/sink/{destination_id}")
async def get_destination(
    destination_id: DestinationRef, service: ServiceDep, _: CallerDep
) -> SinkView:
    """Returns a destination. Secrets in `config` are masked."""
    return SinkView.of(await service.destination(destination_id))


@router.delete("/sink/{destination_id}", status_code=204)
async def delete_destination(
    destination_id: DestinationRef, service: ServiceDep, caller: CallerDep
) -> None:
    """Deletes a destination. Returns 409 while an ingestion writes to it."""
    await service.delete_destination(destination_id, caller)


@router.post("/ingestion", status_code=201, dependencies=[AsksSource])
async def create_ingestion(
    body: IngestionCreate,
    response: Response,
    service: ServiceDep,
    caller: CallerDep,
    key: IdempotencyDep,
) -> IngestionView:
    """Creates an ingestion. Two ingestions never write the same bronze path: a 409 names the
    other one."""
    ingestion, claim = await service.create_ingestion(body.draft(), caller, key)
    set_replayed(response, claim)
    return IngestionView.of(ingestion)


@router.get("/ingestion", response_model=IngestionList)
async def list_ingestions(service: ServiceDep, _: CallerDep) -> Response:
    """Lists all ingestions."""
    return await listed(IngestionList.of, await service.ingestions())


@router.get("/ingestion/{ingestion_id}")
async def get_ingestion(
    ingestion_id: IngestionRef, service: ServiceDep, _: CallerDep
) -> IngestionView:
    """Returns an ingestion with its streams."""
    return IngestionView.of(await service.ingestion(ingestion_id))


@router.patch("/ingestion/{ingestion_id}")
async def update_ingestion(
    ingestion_id: IngestionRef, body: IngestionPatch, service: ServiceDep, caller: CallerDep
) -> IngestionView:
    """Changes the fields in the body. Streams cannot change while the ingestion syncs."""
    return IngestionView.of(await service.update_ingestion(ingestion_id, body.change(), caller))


@router.delete("/ingestion/{ingestion_id}", status_code=204)
async def delete_ingestion(
    ingestion_id: IngestionRef, service: ServiceDep, caller: CallerDep
) -> None:
    """Deletes an ingestion and keeps the files that it wrote. Returns 409 while it syncs."""
    await service.delete_ingestion(ingestion_id, caller)


@router.get("/ingestion/{ingestion_id}/status")
async def get_ingestion_status(
    ingestion_id: IngestionRef, service: ServiceDep, _: CallerDep
) -> IngestionStatusView:
    """Returns the last sync of an ingestion, and when the next one is due."""
    return IngestionStatusView.of(*await service.last_sync(ingestion_id))


@router.post(
    "/ingestion/{ingestion_id}/sync",
    responses={202: {"model": RunView, "description": "The sync is still running."}},
)
async def sync_ingestion(
    ingestion_id: IngestionRef,
    response: Response,
    service: ServiceDep,
    caller: CallerDep,
    submission: SubmissionDep,
    wait: WaitDep,
) -> RunView:
    """Starts a sync, or joins the one that is running, and waits for it."""
    run, claim = await service.sync(ingestion_id, submission)
    set_replayed(response, claim)
    accepted(response, run, wait)
    return RunView.of(run, caller)
