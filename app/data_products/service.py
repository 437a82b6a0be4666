"""Implements the rules of data products: gold tables with an owner."""

import asyncio
import uuid
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.caller import Caller
from app.data_products.lineage import Lineage, ProductTable
from app.data_products.metadata import with_stored_secrets
from app.data_products.naming import table_name
from app.data_products.record import BuildTimes, ProductDoc, ProductStatus
from app.data_products.rules import (
    ProductFilter,
    ProductRecord,
    defined_model,
    fingerprint,
    matching,
    model_spec,
    refuse_added_columns,
    refuse_same_table,
    refuse_version,
)
from app.data_products.schemas import ProductCreate, ProductUpdate
from app.data_products.tracing import trace
from app.errors import AsgardError, Conflict, NotFound
from app.idempotency import Claim, IdempotencyKey, IdempotencyStore
from app.lakehouse.catalog import Catalog, TableInfo
from app.lakehouse.records.table import RecordTable
from app.names import id_of
from app.runs.model import Run, RunKind, RunState
from app.runs.pages import AnyRun
from app.runs.service import RunService
from app.runs.submission import RunRequest, Submission
from app.sql.client import SqlGuardClient
from app.sql.model import GuardedQuery
from app.warehouse.definitions import DefinedModel, delete_with_table, named, refuse_deleting
from app.warehouse.engine import Preview, SqlEngine


@dataclass(frozen=True)
class Product:
    """Holds a record and the status that follows from its runs."""

    record: ProductRecord
    status: ProductStatus
    last_run: AnyRun | None


@dataclass(frozen=True)
class Stats:
    product: ProductRecord
    table: TableInfo | None
    freshness: str
    age_seconds: float | None


class DataProductService:
    def __init__(
        self,
        *,
        records: RecordTable[ProductDoc],
        runs: RunService,
        sql_guard: SqlGuardClient,
        engine: SqlEngine,
        catalog: Catalog,
        idempotency: IdempotencyStore,
        silver_schema: str,
        gold_schema: str,
        on_change: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`on_change` is called when the result of `models()` changes."""
        self._records = records
        self._runs = runs
        self._sql_guard = sql_guard
        self._engine = engine
        self._catalog = catalog
        self._idempotency = idempotency
        self._silver = silver_schema
        self._gold = gold_schema
        self._on_change = on_change
        self._now = now

    async def create(
        self, request: ProductCreate, caller: Caller, key: IdempotencyKey | None
    ) -> tuple[Product, Claim]:
        """Raises a 400 for SQL that cannot run, and `Conflict` if another product has the table."""
        fields = request.model_dump()
        guarded = await self._check_query(fields["sql_query"])
        doc = ProductDoc(
            **fields,
            table_name=table_name(fields["name"]),
            schema_name=self._gold,
            guarded_sql=guarded.sql,
        )
        claim = await self._idempotency.claim(key, str(uuid.uuid4()))
        if claim.replayed and (existing := await self._records.get(claim.id)) is not None:
            return await self.get(existing.id), claim
        try:
            record = await self._records.insert(
                claim.id,
                doc,
                caller.subject,
                check=lambda doc, products: refuse_same_table(doc, claim.id, products),
            )
        except Conflict as conflict:
            if conflict.members.get("conflicting_id") != claim.id:
                raise
            record = await self._record(claim.id)  # the same request, sent twice at once
        self._on_change()
        return Product(record, ProductStatus.CREATED, None), claim

    async def get(self, product_id: str) -> Product:
        # Concurrently, since each asks the lake for changes.
        record, newest = await asyncio.gather(
            self._record(product_id), self._runs.newest([product_id])
        )
        return await self._product(record, newest)

    async def search(
        self, criteria: ProductFilter, offset: int, limit: int
    ) -> tuple[list[Product], int]:
        """Return a page of the products that match, the newest first, and how many match."""
        found = await self._records.newest_first()
        if criteria != ProductFilter():
            # In a thread: there may be very many.
            found = await asyncio.to_thread(matching, found, criteria)
        page = slice(offset, offset + limit)
        asked = found[page] if criteria.status is None else found
        newest = await self._runs.newest([record.id for record in asked])
        built = await self._built_before(asked, newest)
        if criteria.status is not None:
            found = await asyncio.to_thread(_having, criteria.status, found, newest, built)
        return _products(found[page], newest, built), len(found)

    async def update(
        self,
        product_id: str,
        change: ProductUpdate,
        caller: Caller,
        expected_version: int | None,
    ) -> Product:
        """Change a product. A new query is checked now and built by the next run. A new name also
        renames the table before its first run, but not later, since a table may have readers."""
        current = await self.get(product_id)
        update = change.changes()
        if "sql_query" in update:
            update["guarded_sql"] = (await self._check_query(update["sql_query"])).sql
        if "name" in update:
            update["table_name"] = table_name(update["name"])
            if update["table_name"] != current.record.doc.table_name:
                await self._refuse_rename(current.record)
        renamed_from: ProductDoc | None = None

        def changed(doc: ProductDoc) -> ProductDoc:
            nonlocal renamed_from
            refuse_deleting(doc)
            new = doc.model_copy(update=_with_stored_secrets(update, doc))
            renamed_from = doc if new.table != doc.table else None
            return new

        record = await self._records.update(
            product_id,
            changed,
            caller,
            expected_version,
            check=lambda doc, products: refuse_same_table(doc, product_id, products),
        )
        if renamed_from is not None:
            await self._keep_or_undo_rename(record, renamed_from, update, caller)
        self._on_change()
        return Product(record, current.status, current.last_run)

    async def delete(
        self, product_id: str, caller: Caller, *, drop_table: bool, expected_version: int | None
    ) -> None:
        """Delete a product, with its table or without it. Raises `Conflict` while a run builds
        it."""
        record = await self._record(product_id)
        refuse_version(record, expected_version)

        async def refuse_running() -> None:
            await self._refuse_running(product_id)

        if drop_table:
            await delete_with_table(
                self._records,
                product_id,
                caller,
                expected_version,
                refuse_running=refuse_running,
                drop=self._catalog.drop_table,
            )
        else:
            await refuse_running()
            await self._records.delete(product_id, caller, expected_version)
        self._on_change()

    async def run(self, product_id: str, submission: Submission) -> tuple[Product, Run, Claim]:
        """Build the table. A request joins a current run of the same product in the same state."""
        record = await self._record(product_id)
        refuse_deleting(record.doc)
        spec = model_spec(record, (await self._sql_guard.check_query(record.doc.sql_query)).sql)
        work = spec.model_dump(mode="json")
        request = RunRequest(
            kind=RunKind.DATA_PRODUCT,
            target=record.doc.table,
            spec=work,
            subject_id=product_id,
            fingerprint=fingerprint(record.doc.table, work),
        )
        run, claim = await self._runs.submit(request, submission)
        return await self._product(record, {product_id: run}), run, claim

    async def lineage(self, product_id: str) -> tuple[ProductRecord, Lineage]:
        record = await self._record(product_id)
        products = {
            other.doc.table: ProductTable(other.id, other.doc.name, other.doc.consumers)
            for other in await self._records.all()
        }
        return record, await trace(self._runs, record.doc.table, products, self._silver)

    async def stats(self, product_id: str) -> Stats:
        record = await self._record(product_id)
        table = await self._catalog.table(record.doc.table)
        if table is None:
            built = await self._builds([record])
            return Stats(record, None, "missing" if built else "never_built", None)
        age = max(0.0, (self._now() - table.last_updated).total_seconds())
        stale = age > record.doc.update_frequency.limit_seconds
        return Stats(record, table, "stale" if stale else "fresh", age)

    async def build_times(self) -> BuildTimes:
        """Return when each product was built last, by its runs, without reading tables."""
        records = await self._records.newest_first()
        builds = await self._builds(records)

        def times() -> BuildTimes:
            return BuildTimes.of(
                (record.doc.update_frequency, run.finished_at if run else None)
                for record, run in ((record, builds.get(record.id)) for record in records)
            )

        return await asyncio.to_thread(times)

    async def preview(self, product_id: str, limit: int) -> tuple[ProductRecord, Preview]:
        record = await self._record(product_id)
        if await self._catalog.table(record.doc.table) is None:
            raise NotFound(
                f"{record.doc.table} does not exist yet.",
                hint=f"POST /api/v1/data-products/{product_id}/run builds it.",
            )
        return record, await self._engine.preview(record.doc.table, limit)

    async def id_of(self, reference: str) -> str:
        """Return the id of the data product with this id or name, as `names.id_of` does."""
        return await id_of(reference, "data product", lambda: named(self._records, reference))

    async def models(self) -> list[DefinedModel]:
        """Return every product as a model of the generated dbt project."""
        records = await self._records.all()
        return await asyncio.to_thread(lambda: [defined_model(record) for record in records])

    async def _check_query(self, sql: str) -> GuardedQuery:
        guarded = await self._sql_guard.check_query(sql)
        guarded.require_names()
        refuse_added_columns(column.name for column in await self._engine.columns(guarded))
        return guarded

    async def _record(self, product_id: str) -> ProductRecord:
        record = await self._records.get(product_id)
        if record is None:
            raise NotFound(f"There is no data product {product_id}.")
        return record

    async def _product(self, record: ProductRecord, newest: Mapping[str, AnyRun]) -> Product:
        built = await self._built_before([record], newest)
        return _products([record], newest, built)[0]

    async def _built_before(
        self, records: Sequence[ProductRecord], newest: Mapping[str, AnyRun]
    ) -> Container[str]:
        """Return the ids of those whose newest run was cancelled, but which an earlier run built: a
        cancelled run changes nothing."""
        ids = {id_ for id_, run in newest.items() if run.state is RunState.CANCELLED}
        cancelled = [record for record in records if record.id in ids] if ids else []
        return await self._builds(cancelled) if cancelled else ()

    async def _builds(self, records: Sequence[ProductRecord]) -> dict[str, AnyRun]:
        """Return the newest run of each product that built its table, by the product's id. A run of
        a deleted product with the same table is not one of them."""
        runs = await self._runs.newest_success([record.doc.table for record in records])

        def of_products() -> dict[str, AnyRun]:
            return {
                record.id: run
                for record in records
                if (run := runs.get(record.doc.table)) and run.subject_id == record.id
            }

        return await asyncio.to_thread(of_products)

    async def _refuse_running(self, product_id: str) -> None:
        run = await self._runs.using(product_id)
        if run is not None:
            raise Conflict(
                f"Run {run.run_id} is building this data product.",
                hint="Wait for it to end, or cancel it.",
                conflicting_id=run.run_id,
            )

    async def _refuse_rename(self, record: ProductRecord) -> None:
        await self._refuse_running(record.id)
        last_run = (await self._runs.newest([record.id])).get(record.id)
        if last_run is not None:
            raise Conflict(
                "The new name would change the table, but a run has already used "
                f"{last_run.target}.",
                hint="Create a new data product, or choose a name that maps to the same table.",
                conflicting_id=last_run.run_id,
            )

    async def _keep_or_undo_rename(
        self, renamed: ProductRecord, before: ProductDoc, changed: Iterable[str], caller: Caller
    ) -> None:
        """Undo the rename, and raise, unless no run began before it was recorded. A run that begins
        later fails (`require_definition`)."""

        def restored(doc: ProductDoc) -> ProductDoc:
            if doc.table != renamed.doc.table:
                return doc
            return doc.model_copy(update={name: getattr(before, name) for name in changed})

        try:
            await self._refuse_rename(renamed)
        except AsgardError:
            await self._records.update(
                renamed.id,
                restored,
                caller,
                check=lambda doc, products: refuse_same_table(doc, renamed.id, products),
            )
            raise


def _products(
    records: Sequence[ProductRecord], newest: Mapping[str, AnyRun], built: Container[str]
) -> list[Product]:
    products = []
    for record in records:
        run = newest.get(record.id)
        products.append(Product(record, ProductStatus.after(run, record.id in built), run))
    return products


def _having(
    status: ProductStatus,
    records: Sequence[ProductRecord],
    newest: Mapping[str, AnyRun],
    built: Container[str],
) -> list[ProductRecord]:
    products = _products(records, newest, built)
    return [product.record for product in products if product.status is status]


def _with_stored_secrets(update: Mapping[str, Any], doc: ProductDoc) -> dict[str, Any]:
    if "metadata" not in update:
        return dict(update)
    return {**update, "metadata": with_stored_secrets(update["metadata"], doc.metadata)}
