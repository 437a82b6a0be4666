"""Runs the guard and the rewriting for the gateway in warm workers, with a deadline per call."""

import asyncio
import signal
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.errors import AsgardError, EngineUnreachable, SqlRefused, SqlTooLarge
from app.processes import WorkerDied, WorkerError, WorkerPool, WorkerProcess, WorkerTimeout
from app.sandbox.policy import Sandbox
from app.sql.limits import CPU_SECONDS, DEADLINE_SECONDS, check_size
from app.sql.model import BoundScript, GuardedQuery, SqlPolicy
from app.telemetry.calls import SILENT, Telemetry

ENGINE = "sql-judge"
"""The name of the workers in metrics and traces."""
WORKERS = 2
WORKER_MEMORY = 2**30
QUEUE_SECONDS = 15.0
"""How long SQL waits for a worker: other callers' SQL may keep them all busy."""
RETRY_SECONDS = 5
NO_VIEWS: Mapping[str, str] = {}


class SqlGuardClient:
    """Each method raises what the function with its name in `guard` or `rewrite` raises, and
    `SqlTooLarge` if that takes too long or ends the worker."""

    def __init__(
        self,
        policy: SqlPolicy,
        *,
        log_path: Path,
        deadline: float = DEADLINE_SECONDS,
        cpu_seconds: float = CPU_SECONDS,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._telemetry = telemetry
        self._policy = policy
        self._log_path = log_path
        self._deadline = deadline
        self._cpu_seconds = cpu_seconds
        self._replacing: set[asyncio.Task[None]] = set()
        self._pool = WorkerPool(
            self._start,
            WORKERS,
            max_calls=100_000,
            max_age=24 * 3600,
            engine=ENGINE,
            telemetry=telemetry,
        )

    async def warm(self) -> None:
        """Start a worker in advance: the first one takes about a second to start."""
        await self._pool.warm()

    async def close(self) -> None:
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        await self._pool.close()

    async def check_query(self, sql: str) -> GuardedQuery:
        check_size(sql)
        return replace(GuardedQuery.from_json(await self._call("check_query", sql=sql)), source=sql)

    async def with_caller_position(
        self, error: SqlRefused, query: GuardedQuery, engine_sql: str, dialect: str = "trino"
    ) -> SqlRefused:
        """Return `error` with its position in the caller's text. The engine reported a position in
        `engine_sql`, which was made from the query. Drop the position if no word matches."""
        at = error.members.pop("position", None)
        if at is None or not query.source:
            return error
        request = {"given": engine_sql, "at": at, "source": query.source, "dialect": dialect}
        with suppress(AsgardError):  # the position alone is not worth another error
            if (position := await self._call("find_place", **request)) is not None:
                error.members["position"] = position
        return error

    async def to_duckdb(
        self, sql: str, views: Mapping[str, str] = NO_VIEWS, catalog: str = "iceberg"
    ) -> str:
        answer = await self._call("to_duckdb", sql=sql, views=dict(views), catalog=catalog)
        return str(answer)

    async def with_stand_ins(self, sql: str, queries: Mapping[str, str]) -> str:
        return str(await self._call("with_stand_ins", sql=sql, queries=dict(queries)))

    async def to_dbt_model(self, sql: str, refs: Collection[str], dialect: str = "duckdb") -> str:
        answer = await self._call("to_dbt_model", sql=sql, refs=sorted(refs), dialect=dialect)
        return str(answer)

    async def bind_script(self, sql: str, source_view: str | None, catalog: str) -> BoundScript:
        """Run `check_script` and `bound`. The script reads its source through `source_view`."""
        check_size(sql)
        answer = await self._call("bind_script", sql=sql, source_view=source_view, catalog=catalog)
        return BoundScript.from_json(answer)

    async def _start(self) -> WorkerProcess:
        return await WorkerProcess.start(
            "app.sql.worker",
            name="sql guard",
            log_path=self._log_path,
            handshake={"policy": self._policy.to_json(), "cpu_seconds": self._cpu_seconds},
            sandbox=Sandbox(),
            max_rss=WORKER_MEMORY,
            telemetry=self._telemetry,
            engine=ENGINE,
        )

    async def _call(self, op: str, **message: Any) -> Any:
        """Call a worker. Try once more if the worker died of anything but its limit of processor
        time: it may have been killed. SQL that also ends the second one is itself at fault."""
        try:
            try:
                answer = await self._call_worker({"op": op, **message})
            except WorkerDied as death:
                if death.exit_code == -signal.SIGPROF:
                    raise
                answer = await self._call_worker({"op": op, **message})
        except (WorkerTimeout, WorkerDied) as error:
            self._replace()
            raise SqlTooLarge(
                "The SQL takes too long to read: it is too large or nested too deeply.",
                hint="Move inner queries into WITH clauses, or split the SQL into several steps.",
            ) from error
        refused = answer.get("refused")
        if refused is None:
            return answer["value"]
        refusal = WorkerError(refused)
        raise refusal.to_asgard() or refusal

    async def _call_worker(self, message: dict[str, Any]) -> dict[str, Any]:
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(QUEUE_SECONDS):
                    worker = await stack.enter_async_context(self._pool.acquire())
            except TimeoutError:
                raise EngineUnreachable(
                    "The SQL parser is busy.", retry_after=RETRY_SECONDS, dependency="judge"
                ) from None
            return await worker.call(message, timeout=self._deadline)

    def _replace(self) -> None:
        """Start the next worker now, so that the next caller does not wait for it."""
        task = asyncio.create_task(self._pool.warm())
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)
