"""Creates things in Airbyte only once, although its API has no idempotency keys and no unique
names."""

from typing import Any

from app.airbyte.remote.client import AirbyteClient, Json
from app.airbyte.remote.ownership import Claims, Ownership
from app.airbyte.remote.resources import AirbyteResources, ResourceKind
from app.errors import AsgardError, EngineTimeout, EngineUnreachable

CLOCK_STEP = 2
"""Seconds. Airbyte's creation times are whole seconds."""


class ResourceCreator:
    def __init__(self, client: AirbyteClient, claims: Claims, resources: AirbyteResources) -> None:
        self._client = client
        self._claims = claims
        self._resources = resources

    async def create(
        self, kind: ResourceKind, id_: str, body: Json, same: dict[str, Any], created_by: str
    ) -> Json:
        """Creates a resource, or returns the one that an earlier attempt created. `id_` is the
        request's own, and `same` has the fields that identify the resource."""
        claim, is_new = await self._claims.begin(id_, created_by, self._client.now())
        if claim.made:
            return await self._resources.existing(kind, claim.made)

        async def find_existing() -> Json | None:
            return await self._find(kind, same, claim)

        existing = None if is_new else await find_existing()
        try:
            created = existing or await self._client.post(kind.path, body, find_existing)
        except (EngineUnreachable, EngineTimeout):
            raise
        except AsgardError:
            # Airbyte refused. A repetition must not take what others create there meanwhile.
            await self._claims.drop(id_)
            raise
        await self._claims.complete(id_, claim, created[kind.id_name])
        return created

    async def _find(
        self, kind: ResourceKind, same: dict[str, Any], claim: Ownership
    ) -> Json | None:
        others = await self._claims.creators()
        scope = {"workspaceIds": same["workspaceId"]} if "workspaceId" in same else {}
        items = await self._client.pages(kind.path, kind.id_name, scope)
        since = claim.at.timestamp() - CLOCK_STEP
        own = [
            item
            for item in items
            if item[kind.id_name] not in others
            and item["createdAt"] >= since
            and all(item.get(name) == value for name, value in same.items())
        ]
        return min(own, key=lambda item: int(item["createdAt"])) if own else None
