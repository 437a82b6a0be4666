"""Deletes the files of dead runs once the catalog would refuse their commits."""

import re
from functools import partial
from urllib.parse import quote

import structlog

from app.errors import AsgardError
from app.lakehouse.catalog import Catalog
from app.lakehouse.publish.publish import sweep
from app.lakehouse.storage import ObjectStore

PREFIX = "asgard/leftovers/"
RUN_ID = re.compile(r"[0-9a-f]{32}")
"""Other names could match the files of other runs."""
log = structlog.get_logger()


class Leftovers:
    """Remembers dead runs until their files can be deleted. The catalog may receive a run's commit
    after the run has died, and accepts it unless the table has changed. The files therefore stay
    until another run commits to the table."""

    def __init__(self, store: ObjectStore, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    async def note(self, table: str, run_id: str) -> None:
        """Record that the dead run may have left files in the table's folders."""
        await self._store.put(_folder(table) + run_id, b"")

    async def sweep(self, table: str) -> None:
        """Delete the noted runs' files that no snapshot refers to. Call this after a commit, which
        stands even if this fails: the next commit repeats it."""
        try:
            keys = [noted.key for noted in await self._store.list(_folder(table))]
            run_ids = [key.rpartition("/")[2] for key in keys]
            run_ids = [run_id for run_id in run_ids if RUN_ID.fullmatch(run_id)]
            if run_ids:
                await self._catalog.run(partial(sweep, table=table, run_ids=run_ids))
            await self._store.delete_many(keys)
        except (AsgardError, OSError, ValueError) as error:
            log.warning("leftovers_not_deleted", table=table, error=str(error))


def _folder(table: str) -> str:
    return f"{PREFIX}{quote(table, safe='')}/"
