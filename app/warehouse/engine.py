"""Defines the port of SQL engines and the models that they build."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict

from app.lakehouse.tables import Column
from app.runs.handler import RunControl, RunResult
from app.runs.model import Run
from app.sql.quoting import literal

if TYPE_CHECKING:
    from app.sql.model import GuardedQuery

__all__ = ["Column", "ExtraColumn", "IncrementalStrategy", "Materialization", "ModelSpec"]


class Materialization(StrEnum):
    TABLE = "table"
    VIEW = "view"
    INCREMENTAL = "incremental"

    @property
    def is_view(self) -> bool:
        return self is Materialization.VIEW


class IncrementalStrategy(StrEnum):
    APPEND = "append"
    MERGE = "merge"
    DELETE_INSERT = "delete_insert"

    @property
    def needs_key(self) -> bool:
        return self is not IncrementalStrategy.APPEND


class ExtraColumn(BaseModel):
    """Adds a column to those of the query. If `value` is None, it holds the time of the run."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: str | None

    @property
    def expression(self) -> str:
        """Return the value in SQL, in the dialect that all engines share."""
        return "now()" if self.value is None else literal(self.value)


class ModelSpec(BaseModel):
    """Specifies what a run builds. `sql` is guarded and canonical, in Trino's dialect."""

    model_config = ConfigDict(frozen=True)

    schema_name: str
    name: str
    sql: str
    materialization: Materialization = Materialization.TABLE
    incremental_strategy: IncrementalStrategy | None = None
    unique_key: tuple[str, ...] = ()
    description: str = ""
    tags: tuple[str, ...] = ()
    owner: str = "dbt"
    full_refresh: bool = False
    """Rebuild an incremental model from scratch, as on its first run."""
    extra_columns: tuple[ExtraColumn, ...] = ()
    replace: bool = False
    """Let a view replace a table of that name, or a table a view."""

    @property
    def table(self) -> str:
        return f"{self.schema_name}.{self.name}"

    @property
    def strategy(self) -> IncrementalStrategy | None:
        """Return the strategy. By default, an incremental model merges if it has a key."""
        if self.materialization is not Materialization.INCREMENTAL:
            return None
        if self.incremental_strategy:
            return self.incremental_strategy
        return IncrementalStrategy.MERGE if self.unique_key else IncrementalStrategy.APPEND


@dataclass(frozen=True)
class Preview:
    columns: list[Column]
    rows: list[list[Any]]


class SqlEngine(Protocol):
    async def validate(self, sql: "GuardedQuery", target: str | None = None) -> list[Column]:
        """Validate by the engine's own planner. Raises `SqlInvalid` or `TableNotFound`. `target` is
        the view to be built from the query, which must not read it."""

    async def columns(self, sql: "GuardedQuery", target: str | None = None) -> list[Column]:
        """Return the query's columns, before a run is created. Raises what `validate` raises."""

    async def build(self, spec: ModelSpec, control: RunControl) -> RunResult:
        """Compute the model and publish it. A failure leaves the existing table unchanged."""

    async def reconcile(self, spec: ModelSpec, run: Run) -> RunResult | None:
        """Return what `build` did before it was cut off, and remove what it left behind."""

    async def rebuild_views(self, table: str, before: Sequence[Column]) -> list[str]:
        """Rebuild the views over a table that were valid on the columns `before` but are not on
        those that it has now. Return their names. Raises `EngineFailed`, which names the views that
        cannot be built."""

    async def preview(self, table: str, limit: int) -> Preview:
        """Return the first rows of `schema.table`, a table or a view. Raises `NotFound`."""

    async def compiled_sql(self, spec: ModelSpec) -> str:
        """Return the query in this engine's dialect. Trino returns the statement for a plain table
        or view."""
