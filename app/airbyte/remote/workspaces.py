"""The workspaces of Airbyte, and the connectors that one has."""

import time
from collections.abc import Callable

from app.airbyte.engine import DEFAULT_WORKSPACE, Connector
from app.airbyte.remote.client import AirbyteClient, Json
from app.airbyte.remote.configs import DEFINITION_IDS, our_name
from app.airbyte.source_configs import TYPED
from app.errors import EngineFailed, InvalidRequest, NotFound, NotSupported

SETTING = "AIRBYTE_WORKSPACE"
FRESH = 60.0
"""Seconds for which the list of a workspace's connectors is not asked for again."""
IMAGE_PREFIX = "source-"


class Workspaces:
    def __init__(
        self,
        client: AirbyteClient,
        configured: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._configured = configured
        self._clock = clock
        self._definitions: dict[str, tuple[float, dict[str, Json]]] = {}

    async def all(self) -> list[Json]:
        return await self._client.pages("/workspaces", "workspaceId")

    async def resolve(self, wanted: str = DEFAULT_WORKSPACE) -> str:
        """The id of the workspace of that name or id; by default the configured one, or else
        the only one."""
        name = self._configured if wanted == DEFAULT_WORKSPACE else wanted
        found = await self.all()
        if name is None:
            return _only(found)
        named = [w for w in found if name in (w["workspaceId"], w["name"])]
        if len(named) != 1:
            some = "no workspace" if not named else "several workspaces"
            raise InvalidRequest(
                f"Airbyte shows these credentials {some} {name}.",
                hint="Name one by its id.",
                workspaces=_shown(found),
            )
        return str(named[0]["workspaceId"])

    async def scope(self) -> dict[str, str | int]:
        """What lists are limited to: the configured workspace; without one, nothing."""
        return {"workspaceIds": await self.resolve()} if self._configured else {}

    async def connectors(self) -> tuple[Connector, ...]:
        found = await self.all()
        if not found:
            raise _none()
        workspace = await self.resolve() if self._configured else str(found[0]["workspaceId"])
        definitions = await self._of(workspace)
        names = definitions or {name: {} for name in DEFINITION_IDS}
        return tuple(_connector(name, definition) for name, definition in sorted(names.items()))

    async def definition_id(self, workspace: str, type_: str) -> str | None:
        """None: name the source's type in its config, as Airbyte knows it.

        Raises `NotSupported` when this Airbyte has no such connector.
        """
        definitions = await self._of(workspace)
        if definitions and type_ not in definitions:
            raise NotSupported(
                f"Airbyte has no source of type {type_}.", types=sorted(definitions)[:100]
            )
        known = definitions.get(type_, {}).get("id")
        return str(known) if known else DEFINITION_IDS.get(type_)

    async def _of(self, workspace: str) -> dict[str, Json]:
        """By type; empty where Airbyte is too old to tell."""
        read_at, found = self._definitions.get(workspace, (-FRESH, {}))
        if self._clock() - read_at < FRESH:
            return found
        try:
            page = await self._client.get(f"/workspaces/{workspace}/definitions/sources")
        except NotFound:
            page = {"data": []}
        found = {_type_of(definition): definition for definition in page["data"]}
        self._definitions[workspace] = (self._clock(), found)
        return found


def _type_of(definition: Json) -> str:
    """`airbyte/source-postgres` → `postgres`."""
    image = str(definition["dockerRepository"]).rsplit("/", 1)[-1]
    return our_name(image.removeprefix(IMAGE_PREFIX))


def _connector(name: str, definition: Json) -> Connector:
    spec = TYPED[name].model_json_schema() if name in TYPED else None
    version = definition.get("dockerImageTag")
    return Connector(type=name, version=version, spec=spec, installed=True)


def _only(found: list[Json]) -> str:
    if not found:
        raise _none()
    if len(found) > 1:
        raise InvalidRequest(
            f"Airbyte has {len(found)} workspaces: say which.",
            hint=f"Give `workspace` (a name or an id), or set {SETTING}.",
            workspaces=_shown(found),
        )
    return str(found[0]["workspaceId"])


def _none() -> EngineFailed:
    return EngineFailed(
        "Airbyte shows these credentials no workspace.",
        hint="Make one in Airbyte, or give the credentials access to one.",
    )


def _shown(found: list[Json]) -> list[dict[str, str]]:
    return [{"id": str(w["workspaceId"]), "name": str(w["name"])} for w in found[:100]]
