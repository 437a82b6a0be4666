"""The guard and the rewriting for the gateway: in warm workers, each call with a deadline."""

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

WORKERS = 2
WORKER_MEMORY = 2**30
QUEUE_SECONDS = 15.0
"""How long SQL waits for a worker: somebody else's may keep them all busy."""
RETRY_SECONDS = 5
NO_VIEWS: Mapping[str, str] = {}


class SqlGuardClient:
    """Every method raises what the function of `guard` or `rewrite` of its name raises, and
    `SqlTooLarge` when that takes too long or takes the worker with it."""

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
        self._pool = WorkerPool(self._start, WORKERS, max_calls=100_000, max_age=24 * 3600)

    async def warm(self) -> None:
        """Has a worker ready: the first one takes about a second to start."""
        await self._pool.warm()

    async def close(self) -> None:
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        await self._pool.close()

    async def check_query(self, sql: str) -> GuardedQuery:
        check_size(sql)
        return replace(GuardedQuery.from_json(await self._ask("check_query", sql=sql)), source=sql)

    async def in_words_of_caller(
        self, error: SqlRefused, query: GuardedQuery, given: str, dialect: str = "trino"
    ) -> SqlRefused:
        """Return `error` with its position in the caller's text. The engine reported a position in
        `given`, which was made from the query. The position is left out if no word is found."""
        at = error.members.pop("position", None)
        if at is None or not query.source:
            return error
        asked = {"given": given, "at": at, "source": query.source, "dialect": dialect}
        with suppress(AsgardError):  # the position alone is not worth another error
            if (found := await self._ask("find_place", **asked)) is not None:
                error.members["position"] = found
        return error

    async def to_duckdb(
        self, sql: str, views: Mapping[str, str] = NO_VIEWS, catalog: str = "iceberg"
    ) -> str:
        answer = await self._ask("to_duckdb", sql=sql, views=dict(views), catalog=catalog)
        return str(answer)

    async def with_stand_ins(self, sql: str, queries: Mapping[str, str]) -> str:
        return str(await self._ask("with_stand_ins", sql=sql, queries=dict(queries)))

    async def to_dbt_model(self, sql: str, refs: Collection[str], dialect: str = "duckdb") -> str:
        answer = await self._ask("to_dbt_model", sql=sql, refs=sorted(refs), dialect=dialect)
        return str(answer)

    async def bind_script(self, sql: str, source_view: str | None, catalog: str) -> BoundScript:
        """`check_script` and `bound` in one. `source_view`: through which it reads its source."""
        check_size(sql)
        answer = await self._ask("bind_script", sql=sql, source_view=source_view, catalog=catalog)
        return BoundScript.from_json(answer)

    async def _start(self) -> WorkerProcess:
        return await WorkerProcess.start(
            "app.sql.worker",
            name="sql judge",
            log_path=self._log_path,
            handshake={"policy": self._policy.to_json(), "cpu_seconds": self._cpu_seconds},
            sandbox=Sandbox(),
            max_rss=WORKER_MEMORY,
            telemetry=self._telemetry,
            engine="sql-judge",
        )

    async def _ask(self, op: str, **message: Any) -> Any:
        """Asked again when the worker died of something else than its limit of processor time,
        for it may have been killed: SQL that ends a second one is at fault itself."""
        try:
            try:
                answer = await self._answer({"op": op, **message})
            except WorkerDied as death:
                if death.exit_code == -signal.SIGPROF:
                    raise
                answer = await self._answer({"op": op, **message})
        except (WorkerTimeout, WorkerDied) as error:
            self._replace()
            raise SqlTooLarge(
                "The SQL takes too long to read: it is too large or nested too deep.",
                hint="Take inner queries out into WITH clauses, or split it into several steps.",
            ) from error
        refused = answer.get("refused")
        if refused is None:
            return answer["value"]
        told = WorkerError(refused)
        raise told.to_asgard() or told

    async def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(QUEUE_SECONDS):
                    worker = await stack.enter_async_context(self._pool.acquire())
            except TimeoutError:
                raise EngineUnreachable(
                    "Too much SQL waits to be read.", retry_after=RETRY_SECONDS, dependency="judge"
                ) from None
            return await worker.call(message, timeout=self._deadline)

    def _replace(self) -> None:
        """Starts the next worker now, not in the next caller's time."""
        task = asyncio.create_task(self._pool.warm())
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)
