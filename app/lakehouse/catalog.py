"""The Iceberg REST catalog for the event loop: pyiceberg in threads, with our errors and types."""

import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import anyio.to_thread
import structlog
from pydantic import ValidationError

from app.concurrency.uninterrupted import uninterrupted
from app.errors import AsgardError, EngineFailed, EngineUnreachable, NotFound, TableRefused
from app.failure import FailureCause
from app.lakehouse.connection import Lake
from app.lakehouse.locations import ForeignFile, of_foreign_file
from app.lakehouse.outputs import TableState
from app.lakehouse.tables import (
    DIALECT,
    NESSIE_OWN,
    Column,
    TableInfo,
    ViewInfo,
    schema_of,
    table_info,
    view_info,
)
from app.shorten import LONGEST_DETAIL, shortened
from app.telemetry.calls import SILENT, Telemetry

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import RestCatalog
    from pyiceberg.schema import Schema
    from pyiceberg.view import View
    from pyiceberg.view.metadata import ViewVersion

__all__ = ["RUN_ID_PROPERTY", "Catalog", "Column", "TableInfo", "ViewInfo", "if_readable"]

T = TypeVar("T")
log = structlog.get_logger()

RUN_ID_PROPERTY = "asgard.run_id"
"""The property in the summary of every snapshot that a run wrote."""
CONCURRENCY = 16
"""Concurrent calls, as many as connections are kept. While the catalog does not answer, each call
occupies its place for its whole timeout, and later calls wait for two timeouts."""
VIEW_ATTEMPTS = 5
"""Nessie loses the SQL of about one new version in twenty if another client reads the view while it
is committed (projectnessie/nessie#12504). Committing another version restores it."""
NETWORK_FAULTS = ("NETWORK_CONNECTION", "connect", "timeout", "timed out", "Timeout")
SERVER_FAULTS = ("INTERNAL_FAILURE", "SERVICE_UNAVAILABLE", "SLOW_DOWN")
"""Arrow's names for errors of S3. SeaweedFS returns them when its disk is full, for example."""


async def if_readable(asked: Awaitable[T | None]) -> T | None:
    """Also return None for a table or view whose metadata is refused: a list then has the
    others."""
    try:
        return await asked
    except TableRefused as error:
        log.warning("table_left_out", table=error.members.get("table"), error=error.detail)
        return None


class Catalog:
    """Names are `schema.name`. Raises `EngineUnreachable` while the catalog cannot be reached."""

    def __init__(self, lake: Lake, telemetry: Telemetry = SILENT) -> None:
        self.lake = lake
        self.telemetry = telemetry
        self._limiter = anyio.CapacityLimiter(CONCURRENCY)
        self._opening = threading.Lock()
        self._catalog: RestCatalog | None = None

    async def run(self, work: "Callable[[RestCatalog], T]") -> T:
        """Run `work` in one of this catalog's own threads. pyiceberg's commit errors
        (`CommitFailedException`, `CommitStateUnknownException`) pass through unchanged. After
        `EngineUnreachable`, a commit may have happened."""
        return await anyio.to_thread.run_sync(self._call, work, limiter=self._limiter)

    async def _change(self, work: "Callable[[RestCatalog], T]") -> T:
        """Run `work`, which changes the catalog. A cancellation waits until it has ended."""
        return await uninterrupted(self.run(work))

    @property
    def waiting(self) -> int:
        """Return the number of calls that wait for a thread."""
        return self._limiter.statistics().tasks_waiting

    async def ensure_namespaces(self, names: Sequence[str] | None = None) -> None:
        """Create the missing namespaces of the lake, or only those named."""
        required = self.lake.namespaces if names is None else names
        await self.run(lambda catalog: _ensure_namespaces(catalog, self.lake, required))

    async def list_tables(self, schema: str) -> list[str]:
        names = await self.run(lambda catalog: catalog.list_tables(schema))
        return sorted(".".join(name) for name in names)

    async def list_views(self, schema: str) -> list[str]:
        names = await self.run(lambda catalog: catalog.list_views(schema))
        return sorted(".".join(name) for name in names)

    async def table(self, name: str) -> TableInfo | None:
        return await self.run(
            lambda catalog: _if_found(
                lambda: _read(name, lambda: table_info(name, catalog.load_table(name)))
            )
        )

    async def view(self, name: str) -> ViewInfo | None:
        return await self.run(
            lambda catalog: _if_found(
                lambda: _read(name, lambda: view_info(name, catalog.load_view(name)))
            )
        )

    async def drop_table(self, name: str) -> bool:
        """Drop it with its files. Return False if there was none. Raises `TableRefused` if
        files of other tables might go with it."""
        return await self._change(
            lambda catalog: _if_found(lambda: _drop_table(catalog, self.lake, name)) or False
        )

    async def drop_view(self, name: str) -> bool:
        """Drop the view. Return False if no view has the name, even if a table has it."""
        return await self._change(
            lambda catalog: _if_found(lambda: _drop_view(catalog, name)) or False
        )

    async def replace_view(
        self, name: str, sql: str, columns: Sequence[Column], properties: Mapping[str, str]
    ) -> ViewInfo:
        """Create the view, or add a new version in one commit, so that readers never find it
        missing. Raises `EngineFailed` if the catalog refuses the view or does not keep its SQL."""

        def replace(rest: "RestCatalog") -> ViewInfo:
            for _ in range(VIEW_ATTEMPTS):
                view = _replace_view(rest, name, sql, columns, properties, self.lake.catalog_name)
                if view.sql_for(DIALECT) is not None:
                    return view_info(name, view)
            raise EngineFailed(
                f"The catalog accepted the view {name} but did not keep its SQL.",
                hint="Nessie can lose the SQL if another client reads the view during the commit. "
                "Start the run again.",
            )

        return await self._change(replace)

    async def find_snapshot(self, table: str, run_id: str) -> TableInfo | None:
        """Return the table as this run left it, from the whole history that the catalog shows."""
        return await self.run(
            lambda catalog: _read(table, lambda: _find_snapshot(catalog, table, run_id))
        )

    async def state(self, name: str) -> TableState | None:
        """Return the state to record for a table or view that was read or published."""
        info = await self.table(name) or await self.view(name)
        return TableState.of(info, self.lake.catalog.ref) if info else None

    async def close(self) -> None:
        with self._opening:
            catalog, self._catalog = self._catalog, None
        if catalog is not None:
            catalog.close()

    def _call(self, work: "Callable[[RestCatalog], T]") -> T:
        import requests
        from pyiceberg import exceptions as iceberg

        try:
            return work(self._open())
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,  # it died in the middle of its response
        ) as error:
            raise _unreachable(error) from error
        except iceberg.CommitStateUnknownException:
            raise
        except (iceberg.ServerError, iceberg.ServiceUnavailableError) as error:
            raise _unreachable(error) from error
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 500
            raise (_unreachable(error) if status >= 500 else _refused(error)) from error
        except requests.exceptions.JSONDecodeError as error:
            raise _not_a_catalog() from error
        except (iceberg.RESTError, requests.RequestException) as error:
            raise _refused(error) from error
        except (
            iceberg.NoSuchTableError,
            iceberg.NoSuchViewError,
            iceberg.NoSuchNamespaceError,
        ) as error:
            raise NotFound(str(error)) from error
        except ValidationError as error:
            raise _not_a_catalog() from error
        except ForeignFile as error:
            raise of_foreign_file(error) from error
        except OSError as error:
            if any(sign in str(error) for sign in (*NETWORK_FAULTS, *SERVER_FAULTS)):
                raise _unreachable(error) from error
            raise
        except (SystemExit, KeyboardInterrupt) as error:
            # Raised from a thread of the event loop, it would end the gateway.
            raise EngineFailed(f"a call to the catalog ended with {error!r}") from error

    def _open(self) -> "RestCatalog":
        with self._opening:
            if self._catalog is None:
                self._catalog = self.lake.open_catalog(self.telemetry)
            return self._catalog


def _unreachable(error: Exception) -> AsgardError:
    return EngineUnreachable(f"the catalog cannot be reached: {error}", dependency="catalog")


def _not_a_catalog() -> AsgardError:
    return EngineFailed(
        "the server at the catalog's address is not an Iceberg REST catalog: its response "
        "cannot be read"
    )


def _refused(error: Exception) -> AsgardError:
    from pyiceberg.exceptions import ForbiddenError, OAuthError, UnauthorizedError

    denied = isinstance(error, (ForbiddenError, OAuthError, UnauthorizedError))
    cause = FailureCause.PERMISSION_DENIED if denied else FailureCause.INTERNAL
    return EngineFailed(f"the catalog refused a request: {error}", cause=cause)


def _if_found(work: Callable[[], T]) -> T | None:
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError, NoSuchViewError

    try:
        return work()
    except (NoSuchTableError, NoSuchViewError, NoSuchNamespaceError):
        return None


def _read(name: str, work: Callable[[], T]) -> T:
    """Raises `TableRefused` for metadata that no client, or not pyiceberg, can read: a writer can
    put any types, figures and times there."""
    import requests
    from pyiceberg.exceptions import ValidationError as Unreadable

    try:
        return work()
    except (requests.RequestException, ForeignFile):
        raise  # They are an `OSError`, and some of them a `ValueError`.
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        RuntimeError,  # also what is nested too deeply
        TypeError,
        Unreadable,
        ValueError,
    ) as error:
        said = shortened(f"{type(error).__name__}: {error}", LONGEST_DETAIL // 4)
        raise TableRefused(f"The metadata of {name} cannot be read: {said}", table=name) from error


def _drop_table(catalog: "RestCatalog", lake: Lake, name: str) -> bool:
    table = _read(name, lambda: catalog.load_table(name))
    if lake.tables_under is None:
        schemas = _schema_locations(catalog, lake)
        lake.places.require_own(table.name(), table.location(), schemas)
    catalog.purge_table(name)
    return True


def _drop_view(catalog: "RestCatalog", name: str) -> bool:
    from pyiceberg.exceptions import BadRequestError

    try:
        catalog.drop_view(name)
    except BadRequestError:
        # Nessie's response to the name of a table.
        if catalog.table_exists(name):
            return False
        raise
    return True


def _schema_locations(catalog: "RestCatalog", lake: Lake) -> dict[str, str]:
    locations: dict[str, str] = {}
    for schema in lake.namespaces:
        properties = _if_found(partial(catalog.load_namespace_properties, schema)) or {}
        if "location" in properties:
            locations[schema] = properties["location"]
    return {**lake.places.schemas, **locations}


def _ensure_namespaces(catalog: "RestCatalog", lake: Lake, required: Sequence[str]) -> None:
    from pyiceberg.exceptions import NamespaceAlreadyExistsError

    existing = {".".join(name) for name in catalog.list_namespaces()}
    for name in required:
        if name not in existing:
            try:
                catalog.create_namespace(name, lake.namespace_properties(name))
            except NamespaceAlreadyExistsError:
                continue


def _find_snapshot(catalog: "RestCatalog", name: str, run_id: str) -> TableInfo | None:
    table = _if_found(lambda: catalog.load_table(name))
    if table is None:
        return None
    for snapshot in sorted(table.snapshots(), key=lambda s: s.timestamp_ms, reverse=True):
        summary = snapshot.summary.additional_properties if snapshot.summary else {}
        if summary.get(RUN_ID_PROPERTY) == run_id:
            return table_info(name, table, snapshot)
    return None


def _new_version(current: "View", schema: "Schema", version: "ViewVersion") -> list[dict[str, Any]]:
    """Return the updates for a new version. A catalog drops a schema or version that equals an
    existing one, and then there is no "last added". So an existing schema is named by its id, and
    an equal version is used again."""
    schemas = [
        existing
        for existing in current.metadata.schemas
        if existing.as_struct() == schema.as_struct()
    ]
    schema_id = schemas[-1].schema_id if schemas else -1
    versions = [
        existing
        for existing in current.metadata.versions
        if (existing.schema_id, existing.representations) == (schema_id, version.representations)
    ]
    if versions:
        existing_id = versions[-1].version_id
        return [{"action": "set-current-view-version", "view-version-id": existing_id}]
    updates: list[dict[str, Any]] = []
    if not schemas:
        next_id = max(existing.schema_id for existing in current.metadata.schemas) + 1
        schema_json = schema.model_dump(mode="json", by_alias=True) | {"schema-id": next_id}
        # Nessie refuses a schema without `last-column-id`, and a second one with the same id.
        last = schema.highest_field_id
        updates.append({"action": "add-schema", "schema": schema_json, "last-column-id": last})
    added = version.model_copy(update={"schema_id": schema_id})
    version_json = added.model_dump(mode="json", by_alias=True, exclude_none=True)
    updates.append({"action": "add-view-version", "view-version": version_json})
    updates.append({"action": "set-current-view-version", "view-version-id": -1})
    return updates


def _create_view(
    catalog: "RestCatalog",
    name: str,
    schema: "Schema",
    version: "ViewVersion",
    properties: Mapping[str, str],
) -> None:
    from pyiceberg.exceptions import ViewAlreadyExistsError

    create = partial(catalog.create_view, name, schema, version, properties=dict(properties))
    try:
        create()
    except ViewAlreadyExistsError:
        if catalog.view_exists(name) or catalog.table_exists(name):
            raise
        # SeaweedFS reserves the name of a table whose staged creation was never committed. So it
        # is committed and dropped.
        catalog.create_table_transaction(name, schema).commit_transaction()
        catalog.purge_table(name)
        create()


def _replace_view(
    catalog: "RestCatalog",
    name: str,
    sql: str,
    columns: Sequence[Column],
    properties: Mapping[str, str],
    default_catalog: str,
) -> "View":
    import requests
    from pyiceberg.exceptions import ViewAlreadyExistsError
    from pyiceberg.view.metadata import SQLViewRepresentation, ViewRepresentation, ViewVersion

    namespace, _, short_name = name.rpartition(".")
    schema = schema_of(columns)
    current = _if_found(lambda: _read(name, lambda: catalog.load_view(name)))
    versions = [version.version_id for version in current.versions] if current else [0]
    version = ViewVersion.model_validate(
        {
            "version-id": max(versions) + 1,
            "schema-id": 0,
            "timestamp-ms": int(time.time() * 1000),
            "summary": {"engine-name": "asgard"},
            "representations": [
                ViewRepresentation(root=SQLViewRepresentation(type="sql", sql=sql, dialect=DIALECT))
            ],
            "default-namespace": (namespace,),
            "default-catalog": default_catalog,
        }
    )
    if current is None:
        try:
            _create_view(catalog, name, schema, version, properties)
        except ViewAlreadyExistsError as error:
            if not catalog.view_exists(name):
                raise EngineFailed(f"The catalog refused the view: {error}") from error
            return _replace_view(catalog, name, sql, columns, properties, default_catalog)
        created: View = catalog.load_view(name)
        return created
    updates = _new_version(current, schema, version)
    updates.append({"action": "set-properties", "updates": dict(properties)})
    own = {key for key in current.properties if not key.startswith(NESSIE_OWN)}
    if removed := sorted(own - set(properties)):
        updates.append({"action": "remove-properties", "removals": removed})
    # pyiceberg has no call for this. The request is the REST specification's `replaceView`.
    response = catalog._session.post(
        catalog.url(f"namespaces/{quote(namespace)}/views/{quote(short_name)}"),
        json={
            "identifier": {"namespace": [namespace], "name": short_name},
            "requirements": [{"type": "assert-view-uuid", "uuid": current.metadata.view_uuid}],
            "updates": updates,
        },
    )
    if response.status_code == requests.codes.bad_request:
        raise EngineFailed(f"The catalog refused the view: {response.text[:500]}")
    response.raise_for_status()
    replaced: View = catalog.load_view(name)
    return replaced
