"""Rebuilds the views over a table or view whose columns change, or names those that cannot be.

Trino stores the columns of a view and refuses to read a view whose query returns other columns.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from app.errors import (
    AsgardError,
    EngineFailed,
    EngineUnreachable,
    InvalidRequest,
    NotSupported,
    SqlNotParsed,
)
from app.failure import FailureCause
from app.lakehouse.catalog import RUN_ID_PROPERTY, if_readable
from app.lakehouse.tables import Column, from_pairs, to_pairs
from app.lakehouse.types import iceberg_type, trino_type
from app.processes import WorkerFailure
from app.runs.handler import Warned
from app.sql.quoting import quoted

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog
    from app.lakehouse.tables import TableInfo, ViewInfo
    from app.runs.handler import RunControl
    from app.runs.model import Run
    from app.sql.client import SqlGuardClient
    from app.warehouse.described import Described

Columns = Sequence[Column]
Describe = Callable[[str, Mapping[str, str]], Awaitable["Described"]]
"""Describes a view's SQL, with queries in place of what it reads, by `schema.name`."""


RebuildViews = Callable[[str, Columns], Awaitable[list[str]]]
COLUMNS = "destination_columns_before"
"""In `Run.engine`: the columns that views over the table were built on."""
VIEWS_BROKEN = "ViewsBroken"
"""The reason of the events that warn about views that could not be rebuilt."""
UNREADABLE = "Its SQL cannot be read."
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Rebuilt:
    view: ViewInfo
    query: Described


class DependentViews:
    def __init__(self, catalog: Catalog, sql_guard: SqlGuardClient, describe: Describe) -> None:
        self._catalog = catalog
        self._sql_guard = sql_guard
        self._describe = describe

    async def prepare(
        self, table: str, before: TableInfo | ViewInfo | None, columns: Columns, control: RunControl
    ) -> None:
        """Check that the views can be built on these columns, before a run gives them to the table.
        Raises `EngineFailed`."""
        if before is None or await _same(before.columns, columns):
            return
        _, broken = await self._plan(table, before.columns, columns)
        if broken:
            raise _refused(f"The columns of {table} would change. Nothing was changed.", broken)
        await control.progress(engine=columns_record(before.columns))

    async def rebuild(self, table: str, before: Columns) -> list[str]:
        """Rebuild the views that were valid on the columns `before` but are not on those that the
        table has now. Return their names, each after those that it reads. Raises `EngineFailed`,
        which names the views that cannot be built, after the other views are built."""
        current = await self._catalog.table(table) or await self._catalog.view(table)
        if current is None or await _same(before, current.columns):
            return []
        rebuilt, broken = await self._plan(table, before, current.columns)
        names = []
        for item in rebuilt:
            try:
                if await self._replace(item):
                    names.append(item.view.table)
            except EngineUnreachable:
                raise
            except (AsgardError, ValueError) as error:
                broken[item.view.table] = str(error)
        if broken:
            raise _refused(f"{table} was written, and its columns have changed.", broken)
        return names

    async def _plan(
        self, table: str, before: Columns, columns: Columns
    ) -> tuple[list[Rebuilt], dict[str, str]]:
        """Return the views to build and, by name, why others cannot be built."""
        views, reads = await self._views()
        current: dict[str, Columns] = {name: view.columns for name, view in views.items()}
        previous = {**current, table.lower(): before}
        changed, rebuilt, broken = {table.lower()}, list[Rebuilt](), dict[str, str]()
        current = {**current, table.lower(): columns}
        for name in _in_order(reads):
            view, below = views[name], reads[name]
            if name == table.lower() or not below & changed:
                continue
            try:
                query = await self._changed(view, below, previous, current)
            except EngineUnreachable:
                raise
            except (AsgardError, WorkerFailure) as error:
                broken[view.table] = _reason(error)
                continue
            if query is None:
                continue
            changed.add(name)
            if isinstance(query, str):
                broken[view.table] = query
                continue
            current = {**current, name: query.columns}
            if _is_own(view):
                rebuilt.append(Rebuilt(view, query))
            else:
                broken[view.table] = "Its columns would change, and Asgard did not create it."
        unread = [views[name] for name in set(views) - set(reads)]
        broken |= {v.table: UNREADABLE for v in unread if _names(v, changed)}
        return rebuilt, broken

    async def _views(self) -> tuple[dict[str, ViewInfo], dict[str, Set[str]]]:
        """Return all views by name, and what each reads, if the guard can read its SQL."""
        lake = self._catalog.lake
        schemas = dict.fromkeys((lake.silver_schema, lake.gold_schema))
        listed = await asyncio.gather(*(self._catalog.list_views(schema) for schema in schemas))
        names = [name for names in listed for name in names]
        infos = await asyncio.gather(*(if_readable(self._catalog.view(name)) for name in names))
        views = {view.table.lower(): view for view in infos if view is not None}
        reads = await asyncio.gather(*(self._reads(view) for view in views.values()))
        pairs = zip(views, reads, strict=True)
        return views, {name: below for name, below in pairs if below is not None}

    async def _reads(self, view: ViewInfo) -> Set[str] | None:
        try:
            guarded = await self._sql_guard.check_query(view.sql)
        except (InvalidRequest, WorkerFailure):
            return None
        return frozenset(table.qualified.lower() for table in guarded.tables)

    async def _changed(
        self,
        view: ViewInfo,
        below: Set[str],
        previous: Mapping[str, Columns],
        current: Mapping[str, Columns],
    ) -> Described | str | None:
        """Return the view's query if it has other columns on `current`, or why it cannot be
        planned. Return None if the view keeps its columns or was already invalid on `previous`."""
        try:
            query = await self._query(view, below, current)
        except SqlNotParsed:
            return UNREADABLE  # The engine may read it all the same.
        except (InvalidRequest, NotSupported) as error:
            return error.detail if await self._is_valid(view, below, previous) else None
        if await _same(view.columns, query.columns):
            return None
        if not _is_own(view) and await self._was_alike(view, below, previous, query):
            return None
        return query

    async def _query(
        self, view: ViewInfo, below: Set[str], columns: Mapping[str, Columns]
    ) -> Described:
        stand_ins = {name: _stand_in(columns[name]) for name in below if name in columns}
        return await self._describe(view.sql, stand_ins)

    async def _is_valid(
        self, view: ViewInfo, below: Set[str], columns: Mapping[str, Columns]
    ) -> bool:
        try:
            await self._query(view, below, columns)
        except (InvalidRequest, NotSupported):
            return False
        return True

    async def _was_alike(
        self, view: ViewInfo, below: Set[str], columns: Mapping[str, Columns], query: Described
    ) -> bool:
        """Return whether the view's query had the same columns before, or was invalid. Another
        writer may have stored other columns, even of types that no query returns."""
        try:
            before = await self._query(view, below, columns)
        except (InvalidRequest, NotSupported):
            return True
        return await _same(before.columns, query.columns)

    async def _replace(self, item: Rebuilt) -> bool:
        """Replace the view and return True, unless another run has changed its SQL meanwhile."""
        current = await self._catalog.view(item.view.table)
        if current is None or current.sql != item.view.sql:
            return False
        await self._catalog.replace_view(
            current.table, item.query.sql, item.query.columns, current.own_properties
        )
        return True


def after_run(columns: Columns, retained: Columns) -> Columns:
    """Return the columns of a table after a run that adds rows: `retained` and the run's own."""
    names = {column.name for column in retained}
    return [*retained, *(column for column in columns if column.name not in names)]


def columns_record(columns: Columns) -> dict[str, Any]:
    """Return what `Run.engine` has to record before the table can get other columns."""
    return {COLUMNS: to_pairs(columns)}


async def rebuild_views_of_reconciled(rebuild: RebuildViews, run: Run) -> tuple[Warned, ...]:
    """Rebuild the views of a run that may have been cut off between writing its table and this.
    Return warnings about those that cannot be built."""
    if (columns := run.engine.get(COLUMNS)) is None:
        return ()
    _, warnings = await _rebuilt(rebuild, run.target, from_pairs(columns))
    return warnings


async def rebuild_views_after(
    rebuild: RebuildViews, table: str, before: TableInfo | ViewInfo | None, control: RunControl
) -> None:
    if before is None:
        return
    names, warnings = await _rebuilt(rebuild, table, before.columns)
    for name in names:
        await control.progress(
            reason="ViewRebuilt", message=f"{name} was rebuilt on the new columns of {table}."
        )
    for warning in warnings:
        await control.progress(reason=warning.reason, message=warning.message, warning=True)


async def _rebuilt(
    rebuild: RebuildViews, table: str, before: Columns
) -> tuple[list[str], tuple[Warned, ...]]:
    """Return the names of the rebuilt views, and warnings. The table is written: a run that failed
    now would be repeated, whatever is wrong with the view of another caller."""
    try:
        return await rebuild(table, before), ()
    except EngineUnreachable:
        raise  # The run is reconciled until this succeeds.
    except AsgardError as error:
        return [], (Warned(VIEWS_BROKEN, error.detail),)
    except Exception as error:
        log.exception("views_not_rebuilt", table=table)
        message = (
            f"{table} was written. The views over it could not be checked: "
            f"internal error ({type(error).__name__})."
        )
        return [], (Warned(VIEWS_BROKEN, message),)


def _in_order(reads: Mapping[str, Set[str]]) -> Iterator[str]:
    """Yield each view after those that it reads."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name in done or name not in reads:
            return
        done.add(name)
        for below in sorted(reads[name]):
            yield from visit(below)
        yield name

    for name in sorted(reads):
        yield from visit(name)


def _names(view: ViewInfo, changed: Set[str]) -> bool:
    """Return whether the view's text, which may be any Trino SQL, has one of these names."""
    words = set(re.findall(r"\w+", view.sql.lower()))
    return any(name.rpartition(".")[2] in words for name in changed)


def _stand_in(columns: Columns) -> str:
    nulls = (f"CAST(NULL AS {column.type}) AS {quoted(column.name)}" for column in columns)
    return f"SELECT {', '.join(nulls)}"


async def _same(one: Columns, other: Columns) -> bool:
    if [(c.name, c.type) for c in one] == [(c.name, c.type) for c in other]:
        return True
    # In a thread: a type may have any number of fields, and a table 10,000 columns.
    return await asyncio.to_thread(_alike, one, other)


def _alike(one: Columns, other: Columns) -> bool:
    return [_plain(column) for column in one] == [_plain(column) for column in other]


def _plain(column: Column) -> tuple[str, str]:
    try:
        return column.name, trino_type(iceberg_type(column.type))
    except ValueError:
        # Another writer's type, which Asgard's own tables and views never have.
        return column.name, column.type


def _is_own(view: ViewInfo) -> bool:
    return RUN_ID_PROPERTY in view.properties


def _reason(error: AsgardError | WorkerFailure) -> str:
    return error.detail if isinstance(error, AsgardError) else UNREADABLE


def _refused(what: str, broken: Mapping[str, str]) -> AsgardError:
    reasons = " ".join(f"{name}: {reason}" for name, reason in broken.items())
    return EngineFailed(
        f"{what} Views over it cannot be built on the new columns. {reasons}",
        cause=FailureCause.SQL_ERROR,
        hint="Change or drop the views, or give the table the columns that they read.",
        broken_views=sorted(broken),
    )
