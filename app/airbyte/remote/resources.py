"""Airbyte's sources, destinations and connections, by id and in lists."""

import re
from dataclasses import dataclass

import structlog

from app.airbyte.engine import S3
from app.airbyte.remote.client import AirbyteClient, Json, Params
from app.airbyte.remote.errors import Forbidden
from app.airbyte.remote.ownership import Claims
from app.airbyte.remote.workspaces import Workspaces
from app.caller import Caller
from app.errors import EngineFailed, InvalidRequest, NotFound

log = structlog.get_logger()


@dataclass(frozen=True)
class ResourceKind:
    name: str
    path: str
    id_name: str


SOURCE = ResourceKind("source", "/sources", "sourceId")
DESTINATION = ResourceKind("destination", "/destinations", "destinationId")
CONNECTION = ResourceKind("connection", "/connections", "connectionId")


class AirbyteResources:
    def __init__(self, client: AirbyteClient, workspaces: Workspaces, claims: Claims) -> None:
        self._client = client
        self._workspaces = workspaces
        self._claims = claims

    async def all(self, kind: ResourceKind) -> dict[str, Json]:
        return await self._listed(kind, await self._workspaces.scope())

    async def get(self, kind: ResourceKind, id_: str) -> Json:
        """Finds it by Airbyte's id, or by that of the request that created it."""
        _require_id(kind, id_)
        try:
            return await self.existing(kind, id_)
        except NotFound:
            claim = await self._claims.get(id_)
            if claim is None or claim.made is None:
                raise
            return await self.existing(kind, claim.made)

    async def existing(self, kind: ResourceKind, airbyte_id: str) -> Json:
        """Also raises `NotFound` for a deleted one: Airbyte keeps its row and may return it."""
        missing = NotFound(f"Airbyte has no {kind.name} {airbyte_id}.")
        try:
            resource: Json = await self._client.get(f"{kind.path}/{airbyte_id}")
        except (NotFound, InvalidRequest):
            raise missing from None
        except EngineFailed as error:
            # A row without its config can break the answer. Lists leave such rows out.
            may_be_deleted = error.retryable or isinstance(error, Forbidden)
            if may_be_deleted and airbyte_id not in await self._listed(kind, {}):
                raise missing from None
            raise
        # A deleted source has no config, but few connectors take none at all.
        has_no_config = kind is not CONNECTION and not resource.get("configuration")
        if _is_deleted(resource) or (
            has_no_config and airbyte_id not in await self._listed(kind, {})
        ):
            raise missing
        return resource

    async def find(self, kind: ResourceKind, id_: str) -> Json | None:
        try:
            return await self.get(kind, id_)
        except NotFound:
            return None

    async def s3_destination_in(self, workspace: str) -> str | None:
        """Returns a destination of type S3, the only type that Asgard creates."""
        destinations = (await self.all(DESTINATION)).items()
        key = (workspace, S3)
        sinks = (id_ for id_, d in destinations if (d["workspaceId"], d["destinationType"]) == key)
        return next(sinks, None)

    async def delete(self, kind: ResourceKind, id_: str, caller: Caller) -> None:
        _require_id(kind, id_)
        await self._client.delete(f"{kind.path}/{id_}")
        log.info("airbyte_deleted", kind=kind.name, id=id_, by=caller.subject)
        await self._claims.forget(id_)

    async def _listed(self, kind: ResourceKind, scope: Params) -> dict[str, Json]:
        items = await self._client.pages(kind.path, kind.id_name, scope)
        return {item[kind.id_name]: item for item in items if not _is_deleted(item)}

    async def creator(self, airbyte_id: str) -> str | None:
        return (await self._claims.creators()).get(airbyte_id)


def _is_deleted(connection: Json) -> bool:
    return connection.get("status") == "deprecated"


def _require_id(kind: ResourceKind, id_: str) -> None:
    """Raises `NotFound` for other spellings of an id: it becomes part of an address, and Airbyte
    reads several spellings as the same id."""
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", id_):
        raise NotFound(f"Airbyte has no {kind.name} with that id.")
