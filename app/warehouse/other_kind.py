"""Replaces a table with a view, or a view with a table.

They cannot share a name, and no commit changes one into the other, so the old one is dropped first.
Before that, the run records the view that belongs there if it is cut off in between: the new one,
or the old one.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from app.errors import AsgardError, EngineFailed
from app.lakehouse.catalog import RUN_ID_PROPERTY
from app.lakehouse.tables import Column, TableInfo, ViewInfo, from_pairs, to_pairs
from app.runs.handler import RunControl
from app.runs.model import Run

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog

VIEW = "view_if_cut_off"
"""The name in `Run.engine`."""


def require_replace(replaces: bool, table: str, existing: str) -> None:
    """Raise `EngineFailed` unless the request allows it. `existing` is "table" or "view"."""
    if not replaces:
        other = "view" if existing == "table" else "table"
        raise EngineFailed(
            f"{table} is a {existing}. This run would replace it with a {other}.",
            hint="Pass replace=true to replace it, or choose another name.",
        )


@asynccontextmanager
async def without_table(
    catalog: "Catalog", table: TableInfo, sql: str, columns: Sequence[Column], control: RunControl
) -> AsyncIterator[None]:
    """Drop a table that the view of `sql`, which the block creates, replaces."""
    own = {RUN_ID_PROPERTY: control.run.run_id}
    await control.progress(engine={VIEW: _record(sql, columns, own)})
    await catalog.drop_table(table.table)
    try:
        yield
    except AsgardError as error:
        raise EngineFailed(
            f"{error.detail} The table {table.table} has already been dropped, and the view that "
            "was to replace it could not be created.",
            cause=error.cause,
            hint="Start the run again, which creates the view.",
        ) from error
    await control.progress(engine={VIEW: None})


@asynccontextmanager
async def without_view(
    catalog: "Catalog", view: ViewInfo, control: RunControl
) -> AsyncIterator[None]:
    """Drop a view that the table, which the block creates, replaces. If the block fails, the view
    is created again."""
    record = _record(view.sql, view.columns, view.own_properties)
    await control.progress(engine={VIEW: record})
    await catalog.drop_view(view.table)
    try:
        yield
    except Exception:
        await _create_missing(catalog, view.table, record)
        raise
    await control.progress(engine={VIEW: None})


async def settle(catalog: "Catalog", run: Run) -> None:
    """Create the view that belongs at the target of a run that was cut off, if nothing is there."""
    if record := run.engine.get(VIEW):
        await _create_missing(catalog, run.target, record)


async def _create_missing(catalog: "Catalog", name: str, record: Mapping[str, Any]) -> None:
    if await catalog.table(name) is None and await catalog.view(name) is None:
        columns = from_pairs(record["columns"])
        await catalog.replace_view(name, record["sql"], columns, record["properties"])


def _record(sql: str, columns: Sequence[Column], properties: Mapping[str, str]) -> dict[str, Any]:
    return {"sql": sql, "columns": to_pairs(columns), "properties": dict(properties)}
