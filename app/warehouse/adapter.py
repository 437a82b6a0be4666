"""Defines what each SQL engine adds to Asgard. `app/warehouse/adapters.py` lists the engines."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from app.config import Settings
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.storage import ObjectStore
from app.telemetry.calls import Telemetry
from app.warehouse.dbt.profiles import ProjectTarget
from app.warehouse.engine import SqlEngine

if TYPE_CHECKING:
    from app.sql.client import SqlGuardClient


class Surroundings(Protocol):
    """Everything that an engine may use. It closes none of it."""

    @property
    def settings(self) -> Settings: ...
    @property
    def lake(self) -> Lake: ...
    @property
    def builder_lake(self) -> Lake:
        """The same lake with the keys for untrusted code."""

    @property
    def publisher_lake(self) -> Lake:
        """The same lake with the keys that write gold tables."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def store(self) -> ObjectStore: ...
    @property
    def sql_guard(self) -> "SqlGuardClient": ...
    @property
    def telemetry(self) -> Telemetry: ...


@dataclass(frozen=True)
class CreatedEngine:
    engine: SqlEngine
    warm: Callable[[], Awaitable[None]]
    """Starts workers, so that the first caller does not wait for them."""
    close: Callable[[], Awaitable[None]]
    probes: Mapping[str, Callable[[], Awaitable[object]]] = field(default_factory=dict)
    """The checks of readiness, by the name of the dependency."""


@dataclass(frozen=True)
class SqlAdapter:
    name: str
    """The name of its `Technology` in the settings, unless it is embedded."""
    create: Callable[[Surroundings], CreatedEngine]
    project_target: Callable[[Settings, Lake], ProjectTarget]
    """Returns what it adds to the generated dbt project."""
    is_embedded: bool = False
    """Whether no setting selects it: it is used if none selects another."""
