"""Deletes the files of dead runs, once no commit of theirs can arrive any more."""

from functools import partial
from urllib.parse import quote

from app.lakehouse.catalog import Catalog
from app.lakehouse.publish.publish import sweep
from app.lakehouse.storage import ObjectStore

PREFIX = "asgard/leftovers/"


class Leftovers:
    """The catalog may receive a commit after its sender has died or stopped waiting. It refuses
    such a commit only when the table has changed. So the files of a dead run stay until another
    run has committed to the table."""

    def __init__(self, store: ObjectStore, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    async def note(self, table: str, run_id: str) -> None:
        """Record that the dead run may have left files in the table's folders."""
        await self._store.put(_folder(table) + run_id, b"")

    async def sweep(self, table: str) -> None:
        """Delete the noted runs' files that no snapshot refers to. Call this after a commit."""
        for noted in await self._store.list(_folder(table)):
            run_id = noted.key.rpartition("/")[2]
            await self._catalog.run(partial(sweep, table=table, run_id=run_id))
            await self._store.delete(noted.key)


def _folder(table: str) -> str:
    return f"{PREFIX}{quote(table, safe='')}/"
