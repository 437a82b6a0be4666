"""The port to Spark, and its values."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from app.data_transformation.resources import SparkResources
from app.frozen import Frozen
from app.runs.handler import RunControl, RunResult
from app.runs.model import Run

if TYPE_CHECKING:
    from app.lakehouse.tables import Column


class WriteMode(StrEnum):
    OVERWRITE = "overwrite"
    APPEND = "append"


class Reading(Frozen):
    """Files that the SQL reads through a view. They are resolved again when the run starts, since a
    sync may have replaced them while it was queued. `format` None means the files' own."""

    view: str
    path: str
    format: str | None = None


class SparkWork(Frozen):
    """The request: the `spec` of a Spark run. Tables are `schema.table`."""

    sql: str
    source_path: str | None
    destination: str
    write_mode: WriteMode
    readings: tuple[Reading, ...]
    views: tuple[tuple[str, str], ...]
    select: str
    tables: tuple[str, ...]
    resources: SparkResources


class SourceFiles(Frozen):
    """The files behind a view. `keys` are keys in the bucket."""

    view: str
    format: str
    keys: tuple[str, ...]


class SparkJob(Frozen):
    """Everything an engine needs to run `job.py`."""

    run_id: str
    sources: tuple[SourceFiles, ...]
    views: tuple[tuple[str, str], ...]
    select: str
    tables: tuple[str, ...]
    """The tables that the SQL reads, as `schema.table`."""
    destination: str
    write_mode: WriteMode
    resources: SparkResources

    def description(
        self,
        bucket: str,
        *,
        destination: str,
        mode: str,
        align_with: str | None,
        path_of: Callable[[str], str] = lambda key: key,
    ) -> dict[str, Any]:
        """Returns the JSON that `job.py` reads. Its tables have their catalog. `path_of` writes a
        key as the engine reads it."""
        return {
            "run_id": self.run_id,
            "sources": [
                {
                    "view": source.view,
                    "format": source.format,
                    "paths": [f"s3a://{bucket}/{path_of(key)}" for key in source.keys],
                }
                for source in self.sources
            ],
            "statements": [
                f"CREATE OR REPLACE TEMPORARY VIEW {_quoted(name)} AS {sql}"
                for name, sql in self.views
            ],
            "select": self.select,
            "reads": [
                *([destination.partition(".")[0], *name.split(".", 1)] for name in self.tables),
                *([source.view] for source in self.sources),
                *([name] for name, _ in self.views),
            ],
            "destination": destination,
            "mode": mode,
            "align_with": align_with,
        }


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


class Views(Protocol):
    """The views over the tables that Spark writes. The SQL engine builds them."""

    async def rebuild_views(self, table: str, before: Sequence["Column"]) -> list[str]:
        """Rebuilds the views that were valid on the columns `before` but are not on the new ones.

        Returns their names. Raises `EngineFailed`, which names the views that cannot be built.
        """
        ...


class SparkEngine(Protocol):
    """An engine. Both adapters write the run's id into the summary of the published snapshot."""

    async def run(self, job: SparkJob, control: RunControl) -> RunResult:
        """Runs to the end. The destination shows either all of the result or nothing.

        Raises:
            EngineFailed: The SQL, the data or the engine failed.
            EngineTimeout: It took longer than a run may.
        """
        ...

    async def reconcile(self, run: Run) -> RunResult | None:
        """Returns the result of a run that no process followed to its end, and cleans up."""
        ...

    async def live_log(self, run: Run) -> str | None:
        """Returns what the engine has logged that is not in the run's own log yet."""
        ...
