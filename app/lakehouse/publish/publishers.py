"""Runs the processes that may write tables."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from app.errors import EngineFailed, EngineUnreachable
from app.lakehouse.connection import Lake
from app.lakehouse.outputs import RunOutput
from app.lakehouse.publish.leftovers import Leftovers
from app.lakehouse.publish.published import ExpectedSnapshot
from app.processes import WorkerDied, WorkerError, WorkerFolders, WorkerPool, WorkerProcess
from app.sandbox.policy import Sandbox
from app.telemetry.calls import SILENT, Telemetry

PUBLISHER = "app.lakehouse.publish.worker"
ATTEMPTS = 3
MAX_RSS = 3 * 2**29
"""Bytes during a call. A publisher holds one row group of a file at a time."""


class Publishers:
    """Warm publishers with the identity of `lake`. A publisher reads files that hostile workers may
    have written, so its sandbox allows only these files, below `handed_over`, and the lake."""

    def __init__(
        self,
        lake: Lake,
        leftovers: Leftovers,
        *,
        home: Path,
        handed_over: Path,
        size: int,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._lake = lake
        self._leftovers = leftovers
        self._handed_over = handed_over
        self._log_path = home / "logs" / "publisher.log"
        self._telemetry = telemetry
        self._folders = WorkerFolders(home / "publishers")
        self._pool = WorkerPool(
            lambda: self._folders.start(self._start), size, engine="publisher", telemetry=telemetry
        )

    async def warm(self) -> None:
        await self._pool.warm()

    async def close(self) -> None:
        await self._pool.close()
        await self._folders.close()

    async def publish(
        self,
        folder: Path,
        table: str,
        run_id: str,
        *,
        base: ExpectedSnapshot | None,
        add_columns: bool = False,
    ) -> RunOutput:
        """Commit the rows that a worker has written into its `folder`. They replace the table in
        the state `base`. Without it, they are appended.

        Raises:
            EngineFailed: nothing was published. With `changed_table`, another writer came first.
            EngineUnreachable: the publisher may have published, or not.
        """
        message = {
            "op": "publish",
            "run_id": run_id,
            "table": table,
            "folder": str(folder),
            "add_columns": add_columns,
            "base": asdict(base) if base else None,
        }
        async with self._pool.acquire() as publisher:
            try:
                answer = await publisher.call(message)
            except WorkerDied as error:
                # `reconcile` finds out whether the commit was made.
                raise EngineUnreachable("The publisher died while publishing.") from error
            except WorkerError as error:
                raise error.translated("The publisher") from error
        await self._leftovers.sweep(table)
        return RunOutput.model_validate(answer)

    async def repeat_if_stale(self, publish: Callable[[], Awaitable[RunOutput]]) -> RunOutput:
        """Call `publish`, and call it again each time that another writer changed the table first,
        up to `ATTEMPTS` times in total."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await publish()
            except EngineFailed as error:
                if "changed_table" not in error.members:
                    raise
                self._telemetry.commit_again("published", "stale")
        return await publish()

    async def _start(self, folder: Path) -> WorkerProcess:
        # The sandbox leaves out what does not exist.
        self._handed_over.mkdir(mode=0o700, parents=True, exist_ok=True)
        return await WorkerProcess.start(
            PUBLISHER,
            name="publisher",
            log_path=self._log_path,
            handshake={"lake": self._lake.to_json()},
            env={"MALLOC_ARENA_MAX": "2"},
            sandbox=Sandbox(folder, self._lake.hosts, reads=(self._handed_over,)),
            max_rss=MAX_RSS,
            telemetry=self._telemetry,
            engine="publisher",
        )
