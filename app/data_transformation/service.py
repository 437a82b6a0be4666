"""The rules of `/spark`: which jobs may be submitted, and how their runs are found."""

import hashlib
import json
from typing import TYPE_CHECKING

from app.caller import Caller
from app.config import Settings
from app.data_transformation.engine import Reading, SparkEngine, SparkWork, WriteMode
from app.data_transformation.resources import SparkResources
from app.data_transformation.run_handler import path_input
from app.data_transformation.schemas import TransformRequest
from app.data_transformation.source_files import SourceResolver
from app.data_transformation.states import SparkState
from app.errors import Conflict, InvalidRequest, NotFound, NotSupported, TableNotFound
from app.idempotency import Claim
from app.nearest import near_matches
from app.runs.model import Run, RunInput, RunKind
from app.runs.service import RunService
from app.runs.submission import RunRequest, Submission
from app.sql.client import SqlGuardClient
from app.sql.guard.paths import normalise_path
from app.sql.model import BoundScript, SqlPolicy

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog
    from app.lakehouse.connection import Lake

SOURCE_VIEW = "source_data"


class SparkService:
    def __init__(
        self,
        *,
        settings: Settings,
        lake: "Lake",
        engine: SparkEngine,
        policy: SqlPolicy,
        catalog: "Catalog",
        sql_guard: SqlGuardClient,
        sources: SourceResolver,
        runs: RunService,
    ) -> None:
        self._lake = lake
        self._engine = engine
        self._policy = policy
        self._catalog = catalog
        self._sql_guard = sql_guard
        self._sources = sources
        self._runs = runs
        self.namespace = settings.spark_namespace
        self.catalog_name = lake.catalog_name
        self.bucket = lake.s3.bucket

    async def submit_transformation(
        self, request: TransformRequest, submission: Submission
    ) -> tuple[Run, Claim]:
        """Checks everything that can be checked beforehand, then submits the run.

        Raises:
            SqlRefused: The SQL does not parse or may not run.
            SourceNotFound, TableNotFound: It reads something that does not exist.
            IdempotencyMismatch: The key was used with another body.
        """
        source = self._source_path(request)
        view = SOURCE_VIEW if source else None
        script = await self._sql_guard.bind_script(request.sql, view, self.catalog_name)
        readings = _readings(script, source)
        inputs = await self._inputs(script, readings)
        if source and not script.reads_source:
            await self._sources.resolve(source, None)
        destination = await self._destination(request)

        claimed = await self._runs.claim(submission)
        work = SparkWork(
            sql=request.sql,
            source_path=source,
            destination=destination or f"{self._lake.silver_schema}.sql_exec_{claimed.claim.id}",
            write_mode=request.write_mode,
            readings=readings,
            views=script.views,
            select=script.select,
            tables=tuple(name.qualified for name in script.tables),
            resources=SparkResources.model_validate(
                request.model_dump(include=set(SparkResources.model_fields))
            ),
        )
        run = await self._runs.submit_claimed(
            RunRequest(
                kind=RunKind.SPARK,
                target=work.destination,
                spec=work.model_dump(mode="json"),
                fingerprint=_fingerprint(work) if destination else None,
                inputs=inputs,
            ),
            claimed,
        )
        return run, claimed.claim

    async def get(self, run_id: str) -> Run:
        """Returns the run. Also raises `NotFound` for runs of other kinds."""
        run = await self._runs.get(run_id)
        if run.kind is not RunKind.SPARK:
            raise NotFound(f"There is no Spark run {run_id}.")
        return run

    async def logs(self, run_id: str, tail_lines: int | None) -> tuple[Run, str]:
        run = await self.get(run_id)
        text = await self._runs.logs(run_id, tail_lines)
        if run.state.is_executing and (live := await self._engine.live_log(run)):
            lines = (text + live).splitlines(keepends=True)
            text = "".join(lines[-tail_lines:] if tail_lines else lines)
        return run, text

    async def cancel(self, run_id: str, caller: Caller) -> Run:
        await self.get(run_id)
        return await self._runs.cancel(run_id, caller)

    async def jobs(self, limit: int, status_filter: str | None) -> tuple[list[Run], int]:
        """Returns the newest runs in the state, and the number of all of them."""
        requested = None if status_filter is None else _state(status_filter)
        page = await self._runs.list(
            kind=RunKind.SPARK,
            condition=(lambda run: SparkState.of(run) is requested) if requested else None,
            limit=limit,
        )
        return list(page.runs), page.total_count

    def _source_path(self, request: TransformRequest) -> str | None:
        if request.source_path is None:
            return None
        return normalise_path(request.source_path, self._policy)

    async def _inputs(
        self, script: BoundScript, readings: tuple[Reading, ...]
    ) -> tuple[RunInput, ...]:
        files = [await self._sources.resolve(reading.path, reading.format) for reading in readings]
        tables = [await self._table(name.qualified) for name in script.tables]
        return (*map(path_input, files), *tables)

    async def _table(self, name: str) -> RunInput:
        table = await self._catalog.table(name)
        if table is not None:
            return RunInput.of(table, self._lake.catalog.ref)
        if await self._catalog.view(name) is not None:
            raise NotSupported(
                f"{name} is a view, but Spark reads only tables. Read the tables that the view "
                "reads, or materialize it as a table."
            )
        existing = [
            table
            for schema in (self._lake.silver_schema, self._lake.gold_schema)
            for table in await self._catalog.list_tables(schema)
        ]
        suggestions = near_matches(name, existing)
        hint = f" Did you mean {' or '.join(suggestions)}?" if suggestions else ""
        raise TableNotFound(
            f"There is no table {name}.{hint}", missing=name, suggested_tables=suggestions
        )

    async def _destination(self, request: TransformRequest) -> str | None:
        """Returns the table to write, `schema.table`, or None for one named after the run."""
        if request.destination_table is None:
            if request.write_mode is WriteMode.APPEND:
                raise InvalidRequest("An append needs a destination_table to append to.")
            return None
        schema, _, table = request.destination_table.lower().rpartition(".")
        if schema not in {"", "silver", self._lake.silver_schema.lower()}:
            raise InvalidRequest(
                f"Spark writes tables in {self._lake.silver_schema}, not in {schema}."
            )
        name = f"{self._lake.silver_schema}.{table}"
        if await self._catalog.view(name) is not None:
            raise Conflict(
                f"{name} is a view: choose another destination_table.", conflicting_id=name
            )
        return name


def _readings(script: BoundScript, source: str | None) -> tuple[Reading, ...]:
    """Returns the files that the script reads, each through a view."""
    paths = [Reading(view=view, path=path.path, format=path.format) for path, view in script.paths]
    if source and script.reads_source:
        return (Reading(view=SOURCE_VIEW, path=source), *paths)
    return tuple(paths)


def _state(name: str) -> SparkState:
    try:
        return SparkState(name.upper())
    except ValueError:
        raise InvalidRequest(
            f"{name} is not a valid state. status_filter must be one of {', '.join(SparkState)}."
        ) from None


def _fingerprint(work: SparkWork) -> str:
    identity = [work.destination, work.sql, work.source_path, work.write_mode]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()
