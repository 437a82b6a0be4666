"""Implements the rules of transformations: SQL that turns silver into gold, as dbt models."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.caller import Caller
from app.dbt_transformations.record import (
    PRODUCT_PREFIX,
    TransformationDoc,
    TransformationRecord,
    TransformationStatus,
    fingerprint,
    transformation_id,
)
from app.dbt_transformations.schemas import TransformationCreate
from app.dbt_transformations.tables import GoldTable, gold_tables, tables_of
from app.errors import (
    AsgardError,
    Conflict,
    EngineFailed,
    InvalidRequest,
    NotFound,
    NotSupported,
)
from app.failure import FailureCause
from app.idempotency import Claim
from app.lakehouse.catalog import Catalog, Column, TableInfo
from app.lakehouse.records.state import Records
from app.lakehouse.records.table import RecordTable
from app.names import id_of
from app.runs.model import Run, RunKind
from app.runs.pages import AnyRun
from app.runs.service import RunService
from app.runs.submission import RunRequest, Submission
from app.sql.client import SqlGuardClient
from app.warehouse.checks import check_key
from app.warehouse.dbt.project import DbtProject
from app.warehouse.definitions import TABLE, DefinedModel, delete_with_table, named, refuse_deleting
from app.warehouse.engine import ModelSpec, SqlEngine

RUNS_SHOWN = 20


@dataclass(frozen=True)
class Transformation:
    record: TransformationRecord
    run: Run | None
    """The newest run."""

    @property
    def seconds(self) -> float | None:
        if self.run is None or self.run.started_at is None or self.run.finished_at is None:
            return None
        return (self.run.finished_at - self.run.started_at).total_seconds()


@dataclass(frozen=True)
class Validation:
    message: str
    columns: list[Column] | None = None
    """None if the SQL cannot run."""
    suggested_tables: tuple[str, ...] = ()
    position: dict[str, int] | None = None


class DbtService:
    def __init__(
        self,
        *,
        records: RecordTable[TransformationDoc],
        runs: RunService,
        sql_guard: SqlGuardClient,
        engine: SqlEngine,
        catalog: Catalog,
        project: DbtProject,
    ) -> None:
        self._records = records
        self._runs = runs
        self._sql_guard = sql_guard
        self._engine = engine
        self._catalog = catalog
        self._project = project
        self._gold = catalog.lake.gold_schema
        self._silver = catalog.lake.silver_schema

    async def create_transformation(
        self, request: TransformationCreate, submission: Submission, *, replace: bool
    ) -> tuple[Transformation, Claim]:
        """Record the definition, start its first run (or the next, for an existing name) and wait
        for it. A refusal here changes nothing."""
        fields = request.fields()
        doc = await self._checked_doc(fields, replace)
        claimed = await self._runs.claim(submission)
        written: list[TransformationRecord] = []

        async def write_definition() -> None:
            written.append(await self._put(doc, submission.caller))
            self._project.changed()

        work = _run_request(transformation_id(doc.name), doc.model(replace=replace))
        run = await self._runs.submit_claimed(work, claimed, write_definition)
        record = written[0] if written else await self._record(str(run.subject_id))
        return Transformation(record, run), claimed.claim

    async def run_again(
        self, record_id: str, submission: Submission, *, full_refresh: bool
    ) -> tuple[Transformation, Claim]:
        record = await self._record(record_id)
        refuse_deleting(record.doc)
        spec = record.doc.model(full_refresh=full_refresh)
        run, claim = await self._runs.submit(_run_request(record.id, spec), submission)
        return Transformation(record, run), claim

    async def search(
        self, status: TransformationStatus | None, offset: int, limit: int
    ) -> tuple[list[Transformation], int]:
        """Return a page of the transformations with this status, the newest first, and how many
        have it."""
        records = await self._records.newest_first()
        page = slice(offset, offset + limit)
        asked = records[page] if status is None else records
        newest = await self._runs.newest([record.id for record in asked])
        if status is not None:
            # In a thread: there may be very many.
            records = await asyncio.to_thread(_having, status, records, newest)
        shown = records[page]
        runs = await self._runs.parsed({r.id: newest[r.id] for r in shown if r.id in newest})
        return [Transformation(record, runs.get(record.id)) for record in shown], len(records)

    async def get(self, record_id: str) -> tuple[Transformation, str | None, Sequence[Run]]:
        """Return it with its compiled SQL and its newest runs."""
        record = await self._record(record_id)
        compiled, page = await asyncio.gather(
            self._compiled(record.doc), self._runs.list(subject_id=record_id, limit=RUNS_SHOWN)
        )
        return Transformation(record, next(iter(page.runs), None)), compiled, page.runs

    async def delete(self, record_id: str, caller: Caller, *, drop_table: bool) -> None:
        """Delete a transformation, with its table or view or without it. Raises `Conflict` while a
        run builds it."""
        await self._record(record_id)

        async def refuse_running() -> None:
            if run := await self._runs.using(record_id):
                raise Conflict(
                    f"Run {run.run_id} is building this transformation.",
                    hint="Wait for it to end, or cancel it.",
                    conflicting_id=run.run_id,
                )

        async def drop(table: str) -> None:
            # Whichever exists: a run that was to change the kind may have failed.
            await self._catalog.drop_view(table)
            await self._catalog.drop_table(table)

        if drop_table:
            await delete_with_table(
                self._records, record_id, caller, None, refuse_running=refuse_running, drop=drop
            )
        else:
            await refuse_running()
            await self._records.delete(record_id, caller)
        self._project.changed()

    async def validate(self, sql: str) -> Validation:
        """Return errors of the SQL itself as a result, and raise those of the lake."""
        try:
            columns = await self._engine.validate(await self._sql_guard.check_query(sql))
        except (InvalidRequest, NotSupported) as error:
            return _invalid(error)
        except EngineFailed as error:
            if error.cause is not FailureCause.SQL_ERROR:
                raise
            return _invalid(error)
        return Validation("The SQL is valid.", columns)

    async def silver_sources(self) -> list[TableInfo]:
        return await tables_of(self._catalog, self._silver)

    async def gold_tables(self) -> list[GoldTable]:
        docs = [record.doc for record in await self._records.all()]
        return await gold_tables(self._catalog, self._gold, docs)

    async def project_archive(self) -> bytes:
        return await self._project.archive()

    async def id_of(self, reference: str) -> str:
        """Return the id of the transformation with this id or name, as `names.id_of` does."""
        return await id_of(reference, "transformation", lambda: named(self._records, reference))

    async def models(self) -> list[DefinedModel]:
        """Return every transformation as a model of the generated dbt project."""
        records = await self._records.all()
        return await asyncio.to_thread(lambda: [_defined_model(record) for record in records])

    @property
    def catalog_name(self) -> str:
        return self._catalog.lake.catalog_name

    async def _checked_doc(self, fields: Mapping[str, Any], replace: bool) -> TransformationDoc:
        guarded = await self._sql_guard.check_query(fields["sql_query"])
        guarded.require_names()
        doc = TransformationDoc(**fields, schema_name=self._gold, guarded_sql=guarded.sql)
        target = doc.table if doc.materialization.is_view else None
        columns, refusal = await asyncio.gather(
            self._engine.columns(guarded, target),
            self._refuse_foreign_table(doc, replace),
            return_exceptions=True,
        )
        if isinstance(columns, BaseException):
            raise columns
        if isinstance(refusal, BaseException):
            raise refusal
        check_key((column.name for column in columns), doc.unique_key)
        return doc

    async def _is_ours(self, doc: TransformationDoc) -> bool:
        """Return whether a transformation built the table, which exists a moment before its run is
        recorded as succeeded. The order matters: a run that ends in between is no longer open."""
        if await self._runs.using(transformation_id(doc.name)):
            return True
        writer = (await self._runs.latest_success([doc.table])).get(doc.table)
        return writer is not None and writer.kind is RunKind.DBT

    async def _refuse_foreign_table(self, doc: TransformationDoc, replace: bool) -> None:
        table = doc.table
        if doc.name.lower().startswith(PRODUCT_PREFIX):
            raise Conflict(
                f"Names that begin with {PRODUCT_PREFIX} are reserved for tables of data products.",
                hint="Choose another name.",
            )
        writers, as_table, as_view = await asyncio.gather(
            self._runs.latest_success([table]),
            self._catalog.table(table),
            self._catalog.view(table),
        )
        writer = writers.get(table)
        if writer and writer.kind is not RunKind.DBT:
            raise Conflict(
                f"{table} was built by a {writer.kind} run, not by a transformation.",
                hint="Choose another name.",
                conflicting_id=writer.subject_id or writer.run_id,
            )
        if replace or not (as_table or as_view):
            return
        if writer is None:
            if await self._is_ours(doc):
                return
            raise Conflict(
                f"{table} exists, and no transformation created it.",
                hint="Choose another name, or pass replace=true to replace it.",
            )
        if (as_table if doc.materialization.is_view else as_view) is not None:
            raise Conflict(
                f"{table} is a {'table' if as_table else 'view'}. This transformation would "
                f"replace it with a {doc.materialization}.",
                hint="Pass replace=true to replace it. There is a moment when neither exists.",
                conflicting_id=transformation_id(doc.name),
            )

    async def _put(self, doc: TransformationDoc, caller: Caller) -> TransformationRecord:
        record_id = transformation_id(doc.name)

        def check(_: TransformationDoc, others: Records[TransformationDoc]) -> None:
            for other in others.with_key(TABLE, doc.table):
                if other.id != record_id:
                    raise Conflict(
                        f"{doc.name} differs from the transformation {other.doc.name} only in "
                        "upper and lower case: their tables would be the same.",
                        conflicting_id=other.id,
                    )

        def replaced(previous: TransformationDoc) -> TransformationDoc:
            refuse_deleting(previous)
            return doc

        while True:
            if await self._records.get(record_id) is None:
                try:
                    return await self._records.insert(
                        record_id, doc, caller.subject, check, again=True
                    )
                except Conflict as conflict:
                    if conflict.members.get("conflicting_id") != record_id:
                        raise
            try:
                return await self._records.update(record_id, replaced, caller, check=check)
            except NotFound:
                continue  # deleted in this very moment: insert it again

    async def _record(self, record_id: str) -> TransformationRecord:
        record = await self._records.get(record_id)
        if record is None:
            raise NotFound(f"There is no transformation {record_id}.")
        return record

    async def _compiled(self, doc: TransformationDoc) -> str | None:
        try:
            return await self._engine.compiled_sql(doc.model())
        except AsgardError:
            return None


def _having(
    status: TransformationStatus,
    records: Sequence[TransformationRecord],
    newest: Mapping[str, AnyRun],
) -> list[TransformationRecord]:
    return [r for r in records if TransformationStatus.of(newest.get(r.id)) is status]


def _defined_model(record: TransformationRecord) -> DefinedModel:
    doc = record.doc
    version = (record.id, record.created_at, record.version)
    is_view = doc.materialization.is_view
    return DefinedModel(doc.table_name, doc.guarded_sql, is_view, version, doc.model)


def _invalid(error: AsgardError) -> Validation:
    return Validation(
        error.detail,
        suggested_tables=tuple(error.members.get("suggested_tables", ())),
        position=error.members.get("position"),
    )


def _run_request(record_id: str, spec: ModelSpec) -> RunRequest:
    return RunRequest(
        kind=RunKind.DBT,
        target=spec.table,
        spec=spec.model_dump(mode="json"),
        subject_id=record_id,
        fingerprint=fingerprint(spec),
    )
