"""Airbyte's workspaces, and their connectors."""

import time
from collections.abc import Callable

from app.airbyte.engine import DEFAULT_WORKSPACE, Connector
from app.airbyte.remote.client import AirbyteClient, Json
from app.airbyte.remote.configs import DEFINITION_IDS, our_name
from app.airbyte.source_configs import TYPED
from app.errors import EngineFailed, InvalidRequest, NotFound, NotSupported

SETTING = "AIRBYTE_WORKSPACE"
FRESH = 60.0
"""Seconds for which the list of a workspace's connectors is not requested again."""
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

    async def resolve(self, requested: str = DEFAULT_WORKSPACE) -> str:
        """Returns the id of the workspace with that name or id. The default is the configured one,
        or else the only one."""
        name = self._configured if requested == DEFAULT_WORKSPACE else requested
        workspaces = await self.all()
        if name is None:
            return _only(workspaces)
        matches = [w for w in workspaces if name in (w["workspaceId"], w["name"])]
        if len(matches) != 1:
            some = "no workspace" if not matches else "several workspaces"
            raise InvalidRequest(
                f"With these credentials, Airbyte shows {some} {name}.",
                hint="Give the id of a workspace.",
                workspaces=_summaries(workspaces),
            )
        return str(matches[0]["workspaceId"])

    async def scope(self) -> dict[str, str | int]:
        """Returns the limits of lists: the configured workspace, or nothing without one."""
        return {"workspaceIds": await self.resolve()} if self._configured else {}

    async def connectors(self) -> tuple[Connector, ...]:
        workspaces = await self.all()
        if not workspaces:
            raise _no_workspace()
        workspace = await self.resolve() if self._configured else str(workspaces[0]["workspaceId"])
        definitions = await self._definitions_of(workspace)
        names = definitions or {name: {} for name in DEFINITION_IDS}
        return tuple(_connector(name, definition) for name, definition in sorted(names.items()))

    async def definition_id(self, workspace: str, type_: str) -> str | None:
        """Returns None if the config has to name the source's type, as Airbyte knows it.

        Raises `NotSupported` if this Airbyte has no such connector.
        """
        definitions = await self._definitions_of(workspace)
        if definitions and type_ not in definitions:
            raise NotSupported(
                f"Airbyte has no source of type {type_}.", types=sorted(definitions)[:100]
            )
        id_ = definitions.get(type_, {}).get("id")
        return str(id_) if id_ else DEFINITION_IDS.get(type_)

    async def _definitions_of(self, workspace: str) -> dict[str, Json]:
        """Returns the definitions by type, or none if Airbyte is too old to list them."""
        read_at, definitions = self._definitions.get(workspace, (-FRESH, {}))
        if self._clock() - read_at < FRESH:
            return definitions
        try:
            page = await self._client.get(f"/workspaces/{workspace}/definitions/sources")
        except NotFound:
            page = {"data": []}
        definitions = {_type_of(definition): definition for definition in page["data"]}
        self._definitions[workspace] = (self._clock(), definitions)
        return definitions


def _type_of(definition: Json) -> str:
    """`airbyte/source-postgres` → `postgres`."""
    image = str(definition["dockerRepository"]).rsplit("/", 1)[-1]
    return our_name(image.removeprefix(IMAGE_PREFIX))


def _connector(name: str, definition: Json) -> Connector:
    spec = TYPED[name].model_json_schema() if name in TYPED else None
    version = definition.get("dockerImageTag")
    return Connector(type=name, version=version, spec=spec, installed=True)


def _only(workspaces: list[Json]) -> str:
    if not workspaces:
        raise _no_workspace()
    if len(workspaces) > 1:
        raise InvalidRequest(
            f"Airbyte has {len(workspaces)} workspaces: choose one.",
            hint=f"Give `workspace` (a name or an id), or set {SETTING}.",
            workspaces=_summaries(workspaces),
        )
    return str(workspaces[0]["workspaceId"])


def _no_workspace() -> EngineFailed:
    return EngineFailed(
        "With these credentials, Airbyte shows no workspace.",
        hint="Create one in Airbyte, or give the credentials access to one.",
    )


def _summaries(workspaces: list[Json]) -> list[dict[str, str]]:
    return [{"id": str(w["workspaceId"]), "name": str(w["name"])} for w in workspaces[:100]]
