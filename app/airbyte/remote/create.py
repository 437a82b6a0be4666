"""Making things in Airbyte once, though its API has no idempotency keys and no unique names."""

from typing import Any

from app.airbyte.remote.client import AirbyteClient, Json
from app.airbyte.remote.ownership import Claims, Ownership
from app.airbyte.remote.resources import AirbyteResources, ResourceKind

CLOCK_STEP = 2
"""Seconds: Airbyte tells when it made something in whole ones."""


class Maker:
    def __init__(self, client: AirbyteClient, claims: Claims, resources: AirbyteResources) -> None:
        self._client = client
        self._claims = claims
        self._resources = resources

    async def make(
        self, kind: ResourceKind, id_: str, body: Json, same: dict[str, Any], created_by: str
    ) -> Json:
        """`id_` is the request's own, `same` what tells the thing from others of its kind."""
        claim, is_new = await self._claims.begin(id_, created_by, self._client.now())
        if claim.made:
            return await self._resources.living(kind, claim.made)

        async def look() -> Json | None:
            return await self._look(kind, same, claim)

        earlier = None if is_new else await look()
        made = earlier or await self._client.post(kind.path, body, look)
        await self._claims.made(id_, claim, made[kind.id_name])
        return made

    async def _look(
        self, kind: ResourceKind, same: dict[str, Any], claim: Ownership
    ) -> Json | None:
        others = await self._claims.creators()
        scope = {"workspaceIds": same["workspaceId"]} if "workspaceId" in same else {}
        found = await self._client.pages(kind.path, kind.id_name, scope)
        since = claim.at.timestamp() - CLOCK_STEP
        mine = [
            item
            for item in found
            if item[kind.id_name] not in others
            and item["createdAt"] >= since
            and all(item.get(name) == value for name, value in same.items())
        ]
        return min(mine, key=lambda item: int(item["createdAt"])) if mine else None
