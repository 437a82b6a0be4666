"""The resources that this gateway created in Airbyte, with the request and the caller of each.

Airbyte chooses its own ids and has no idempotency keys. Before something is created there, one
object in S3 records it under the request's own id. Airbyte's id is added afterwards. A
repetition, by this gateway or another one, thus finds what was created, or looks for it.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from app.frozen import Frozen

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectStore

PREFIX = "asgard/airbyte/"


class Ownership(Frozen):
    created_by: str
    at: datetime
    """By Airbyte's clock. What it created before then belongs to another creator."""
    made: str | None = None


class Claims:
    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._seen: dict[str, tuple[str, Ownership]] = {}

    async def begin(self, id_: str, created_by: str, at: datetime) -> tuple[Ownership, bool]:
        """Return the claim, which may be an earlier one, and whether it is new."""
        from app.lakehouse.storage import PreconditionFailed

        claim = Ownership(created_by=created_by, at=at)
        try:
            await self._store.create(_key(id_), claim.model_dump_json().encode())
        except PreconditionFailed:
            stored = await self._store.get(_key(id_))
            return (Ownership.model_validate_json(stored.body) if stored else claim), False
        return claim, True

    async def complete(self, id_: str, claim: Ownership, airbyte_id: str) -> None:
        body = claim.model_copy(update={"made": airbyte_id}).model_dump_json().encode()
        await self._store.put(_key(id_), body)

    async def drop(self, id_: str) -> None:
        """Remove the claim of a request that created nothing."""
        await self._store.delete(_key(id_))

    async def get(self, id_: str) -> Ownership | None:
        stored = await self._store.get(_key(id_))
        return Ownership.model_validate_json(stored.body) if stored else None

    async def creators(self) -> dict[str, str]:
        """Return the creators by Airbyte's ids. Reads only objects changed since the last call."""
        listed = {info.key: info.etag.strip('"') for info in await self._store.list(PREFIX)}
        for key in self._seen.keys() - listed.keys():
            self._seen.pop(key, None)
        for key, etag in listed.items():
            if key not in self._seen or self._seen[key][0] != etag:
                stored = await self._store.get(key)
                if stored is not None:
                    claim = Ownership.model_validate_json(stored.body)
                    self._seen[key] = (stored.etag.strip('"'), claim)
        return {claim.made: claim.created_by for _, claim in self._seen.values() if claim.made}

    async def forget(self, airbyte_id: str) -> None:
        """Remove the claim of a resource that was deleted."""
        await self.creators()
        keys = [key for key, (_, claim) in self._seen.items() if claim.made == airbyte_id]
        await self._store.delete_many(keys)


def _key(id_: str) -> str:
    return f"{PREFIX}{id_}.json"
