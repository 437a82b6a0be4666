"""Finds the views that a query reads, down to their tables, to expand them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from app.errors import NotSupported, SqlInvalid, TableNotFound
from app.lakehouse.catalog import RUN_ID_PROPERTY, Catalog
from app.lakehouse.tables import TableInfo, ViewInfo
from app.nearest import near_matches
from app.sql.model import GuardedQuery

MAX_DEPTH = 10
MOST_COMPARED = 3
"""The number of missing tables that near matches are looked for. A query can name 500."""

Guard = Callable[[str], Awaitable[GuardedQuery]]


async def find_relations(
    catalog: Catalog, tables: Sequence[str]
) -> dict[str, TableInfo | ViewInfo]:
    """Return the tables and views of these names. Raises `TableNotFound` with near matches."""
    infos = await asyncio.gather(*(_find(catalog, name) for name in tables))
    missing = [name for name, info in zip(tables, infos, strict=True) if info is None]
    if missing:
        raise await table_not_found(catalog, missing)
    return {name: info for name, info in zip(tables, infos, strict=True) if info is not None}


async def _find(catalog: Catalog, name: str) -> TableInfo | ViewInfo | None:
    return await catalog.table(name) or await catalog.view(name)


async def table_not_found(catalog: Catalog, missing: Sequence[str]) -> TableNotFound:
    schemas = (catalog.lake.silver_schema, catalog.lake.gold_schema)
    listed = [catalog.list_tables(s) for s in schemas] + [catalog.list_views(s) for s in schemas]
    existing = sorted({name for names in await asyncio.gather(*listed) for name in names})
    near = list(
        dict.fromkeys(n for name in missing[:MOST_COMPARED] for n in near_matches(name, existing))
    )
    suggestion = f" Near matches: {', '.join(near)}." if near else ""
    return TableNotFound(
        f"There is no table {', '.join(missing)}.{suggestion}",
        missing=list(missing),
        suggested_tables=near,
    )


async def expand_views(
    catalog: Catalog,
    relations: Mapping[str, TableInfo | ViewInfo],
    guard: Guard,
    target: str | None = None,
    foreign: bool = False,
) -> dict[str, str]:
    """Return the SQL of every view among the relations and below them, checked by the guard again.

    Views that Asgard did not create are refused, or left out if `foreign`. No view may, directly or
    through others, read itself or `target`, the view to be built.
    """
    views: dict[str, str] = {}
    reads: dict[str, tuple[str, ...]] = {}
    level = dict(relations)
    for _ in range(MAX_DEPTH):
        unexpanded = {
            name: view
            for name, view in level.items()
            if isinstance(view, ViewInfo) and name not in views
        }
        if not unexpanded:
            refuse_cycles(reads, target, tuple(relations))
            return views
        below: set[str] = set()
        for name, view in unexpanded.items():
            if RUN_ID_PROPERTY not in view.properties or not view.sql:
                if foreign:
                    continue
                raise NotSupported(
                    f"{name} is a view that Asgard did not create. The embedded engine cannot read "
                    "it.",
                    setting="TRINO_HOST",
                )
            guarded = await guard(view.sql)
            views[name] = guarded.sql
            reads[name] = tuple(table.qualified for table in guarded.tables)
            below.update(reads[name])
        level = await find_relations(catalog, sorted(below - {target} - set(views)))
    raise SqlInvalid(f"The query reads views that are nested more than {MAX_DEPTH} levels deep.")


def refuse_cycles(
    reads: Mapping[str, tuple[str, ...]], target: str | None, start: Sequence[str]
) -> None:
    """Raise `SqlInvalid` if a view that can be reached from `start` reads itself or `target`."""
    # Each view is followed once: the number of paths through the views has no bound.
    followed: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        if name in path or name == target:
            raise SqlInvalid(f"A view would read itself: {' → '.join((*path, name))}.")
        if name in followed:
            return
        for below in reads.get(name, ()):
            walk(below, (*path, name))
        followed.add(name)

    for name in start:
        walk(name, ())
