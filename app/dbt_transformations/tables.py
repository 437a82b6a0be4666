"""Lists the tables of silver and gold from the catalog's metadata alone."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from app.dbt_transformations.record import TransformationDoc
from app.lakehouse.catalog import Catalog, TableInfo, ViewInfo, if_readable


@dataclass(frozen=True)
class GoldTable:
    info: TableInfo | ViewInfo
    doc: TransformationDoc | None
    """The transformation that builds it, or None if a data product or another writer does."""

    @property
    def materialization(self) -> str:
        if self.doc:
            return self.doc.materialization.value
        return "view" if isinstance(self.info, ViewInfo) else "table"


async def tables_of(catalog: Catalog, schema: str) -> list[TableInfo]:
    names = await catalog.list_tables(schema)
    infos = await asyncio.gather(*(if_readable(catalog.table(name)) for name in names))
    return [info for info in infos if info is not None]


async def views_of(catalog: Catalog, schema: str) -> list[ViewInfo]:
    names = await catalog.list_views(schema)
    infos = await asyncio.gather(*(if_readable(catalog.view(name)) for name in names))
    return [info for info in infos if info is not None]


async def gold_tables(
    catalog: Catalog, schema: str, docs: Iterable[TransformationDoc]
) -> list[GoldTable]:
    by_table = {doc.table: doc for doc in docs}
    tables, views = await asyncio.gather(tables_of(catalog, schema), views_of(catalog, schema))
    infos: list[TableInfo | ViewInfo] = [*tables, *views]
    infos.sort(key=lambda info: info.table)
    return [GoldTable(info, by_table.get(info.table)) for info in infos]
