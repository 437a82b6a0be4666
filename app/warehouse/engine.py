"""The port of SQL: what a model is, and what an engine does with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict

from app.lakehouse.tables import Column
from app.runs.handler import RunControl, RunResult
from app.runs.model import Run

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
    """A column added to the query's own; `value` None stands for the time of the run."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: str | None


class ModelSpec(BaseModel):
    """What a run builds: `sql` is guarded and canonical, in Trino's dialect."""

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
    """An incremental model is built anew, as on its first run."""
    extra_columns: tuple[ExtraColumn, ...] = ()
    replace: bool = False
    """A view may take the place of a table of that name, and a table that of a view."""

    @property
    def table(self) -> str:
        return f"{self.schema_name}.{self.name}"

    @property
    def strategy(self) -> IncrementalStrategy | None:
        """Without a strategy of its own, an incremental model merges when it has a key."""
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
        """Asks the engine's own planner; raises `SqlInvalid` or `TableNotFound`. `target`: the view
        that is to be made of the query, which it must not read."""

    async def columns(self, sql: "GuardedQuery", target: str | None = None) -> list[Column]:
        """Of the query; raises what `validate` raises. What is asked before a run is made."""

    async def build(self, spec: ModelSpec, control: RunControl) -> RunResult:
        """Computes the model and publishes it. A failure leaves the table as it was."""

    async def reconcile(self, spec: ModelSpec, run: Run) -> RunResult | None:
        """What `build` did before it was cut off; removes what it left behind."""

    async def mend_views(self, table: str, before: Sequence[Column]) -> list[str]:
        """Rebuild the views over a table that were valid on the columns `before` but are not on
        those that it has now. Return their names. Raises `EngineFailed`, which names the views that
        cannot be built."""

    async def preview(self, table: str, limit: int) -> Preview:
        """The first rows of `schema.table`, a table or a view. Raises `NotFound`."""

    async def compiled_sql(self, spec: ModelSpec) -> str:
        """The SQL as this engine runs it."""
