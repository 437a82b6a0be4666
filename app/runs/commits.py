"""Finds a run's commit in the catalog, the only evidence that a run has written."""

from typing import TYPE_CHECKING, Any

from app.errors import AsgardError, EngineFailed
from app.failure import FailureCause
from app.lakehouse.catalog import RUN_ID_PROPERTY
from app.lakehouse.outputs import RunOutput
from app.runs.handler import ReconciledAsFailed, RunControl
from app.runs.model import Run

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import RestCatalog

    from app.lakehouse.catalog import Catalog
    from app.lakehouse.tables import ViewInfo

HEAD = "destination_snapshot_before"
"""The field of `Run.engine` with the newest snapshot before the run could write, or None."""


class RunTarget:
    """The table that a run writes. With `hides_history`, its catalog shows only the newest
    snapshot, so a run's commit cannot be seen after another writer's."""

    def __init__(self, catalog: "Catalog", *, hides_history: bool) -> None:
        self._catalog = catalog
        self._hides_history = hides_history

    async def before(self, table: str) -> dict[str, Any]:
        """Return the fields to record in `Run.engine`."""
        return {HEAD: await self._head(table)} if self._hides_history else {}

    async def note(self, table: str, control: RunControl) -> None:
        """Record the newest snapshot, before anything can write."""
        if before := await self.before(table):
            await control.progress(engine=before)

    async def published(self, table: str, run_id: str) -> RunOutput | None:
        """Return what the snapshot with the run's id holds, if the catalog shows it."""
        from app.lakehouse.publish.publish import find_published

        def find(catalog: "RestCatalog") -> RunOutput | None:
            return find_published(catalog, table, run_id)

        output = await self._catalog.run(find)
        if output is None:
            return None
        return output.model_copy(update={"catalog_ref": self._catalog.lake.catalog.ref})

    async def is_unchanged(self, run: Run) -> bool:
        """Return whether a run without a visible snapshot has certainly written nothing."""
        # The head is recorded before anything can write.
        if not self._hides_history or HEAD not in run.engine:
            return True
        recorded: str | None = run.engine[HEAD]
        return await self._head(run.target) == recorded

    async def failure(self, run: Run, error: AsgardError) -> AsgardError:
        """Return `error`, or `hidden` if it suggests repeating a run whose commit may be hidden."""
        return hidden(run.target) if error.retryable and not await self.is_unchanged(run) else error

    async def nothing_shown(self, run: Run, engine: str) -> EngineFailed:
        """Return why a run has failed although `engine` reports success."""
        unchanged = await self.is_unchanged(run)
        return wrote_nothing(run.target, engine) if unchanged else hidden(run.target)

    async def require_unchanged(self, run: Run) -> None:
        """Raise `ReconciledAsFailed` unless a run without a visible snapshot has certainly written
        nothing."""
        if not await self.is_unchanged(run):
            raise ReconciledAsFailed(hidden(run.target))

    async def _head(self, table: str) -> str | None:
        current = await self._catalog.table(table)
        return current.snapshot_id if current else None


def is_own(view: "ViewInfo", run_id: str) -> bool:
    """Return whether the run created the view as it is now, with its SQL, which Nessie can lose."""
    return view.properties.get(RUN_ID_PROPERTY) == run_id and view.sql != ""


def require_own(view: "ViewInfo", run_id: str) -> None:
    """Raise `EngineFailed` if the view, read after the run created it, is another writer's."""
    if not is_own(view, run_id):
        raise hidden(view.table)


def wrote_nothing(table: str, engine: str) -> EngineFailed:
    return EngineFailed(
        f"{engine} completed, but it wrote nothing: {table} has no snapshot of the run.",
        cause=FailureCause.LOST,
        hint="Read the log of the run, then run it again.",
        retryable=True,
    )


def hidden(table: str) -> EngineFailed:
    return EngineFailed(
        f"It is not known whether the run changed {table}: the catalog shows only its "
        "newest state, which is another writer's.",
        cause=FailureCause.LOST,
        hint="Check the table before you run it again.",
    )
