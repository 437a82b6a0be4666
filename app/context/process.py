"""Opens everything in order and closes it in reverse."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import TypeVar

from app.airbyte.engine import IngestionEngine
from app.airbyte.run_handler import IngestionRunHandler
from app.airbyte.service import AirbyteService
from app.audit.trail import AuditTrail
from app.auth.authenticator import Authenticator
from app.config import Settings
from app.context.access import authenticator
from app.context.engines import ingestion_engine, project_target, spark_engine, sql_engine
from app.context.foundation import Foundation, Probe, build_foundation
from app.context.layers import report_layers
from app.data_products.freshness import FreshnessWatch
from app.data_products.record import ProductDoc
from app.data_products.service import DataProductService
from app.data_transformation.run_handler import SparkRunHandler
from app.data_transformation.service import SparkService
from app.data_transformation.source_files import SourceResolver
from app.dbt_transformations.record import TransformationDoc
from app.dbt_transformations.service import DbtService
from app.idempotency import IdempotencyStore
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.records.table import RecordTable
from app.lakehouse.storage import ObjectStore
from app.runs.handler import RunHandler
from app.runs.metrics import count_ended_run, watch_open_runs
from app.runs.model import RunKind
from app.runs.service import RunService
from app.runs.supervisor import Observer
from app.telemetry.calls import Telemetry
from app.telemetry.metrics import Metrics
from app.warehouse.dbt.project import DbtProject
from app.warehouse.definitions import DEFINITION_KEYS
from app.warehouse.run_handler import ModelRunHandler

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProcessContext:
    settings: Settings
    lake: Lake
    store: ObjectStore
    catalog: Catalog
    runs: RunService
    idempotency: IdempotencyStore
    authenticator: Authenticator
    audit: AuditTrail
    airbyte: AirbyteService
    spark: SparkService
    dbt: DbtService
    data_products: DataProductService
    probes: Mapping[str, Probe]

    def component(self, kind: type[T]) -> T:
        for field in fields(self):
            if isinstance(component := getattr(self, field.name), kind):
                return component
        raise LookupError(kind)


@asynccontextmanager
async def open_context(
    settings: Settings, metrics: Metrics, telemetry: Telemetry
) -> AsyncIterator[ProcessContext]:
    """Open everything in order and close it in reverse, even if opening fails half-way."""
    async with AsyncExitStack() as stack:
        access = authenticator(settings, stack)
        foundation = await build_foundation(settings, telemetry, stack)
        lake, store, catalog = foundation.lake, foundation.store, foundation.catalog
        records, sql_guard, manifests = (
            foundation.records,
            foundation.sql_guard,
            foundation.manifests,
        )
        ingestion = await ingestion_engine(foundation)
        spark = spark_engine(foundation)
        warehouse = sql_engine(foundation)
        sources = SourceResolver(store, manifests)
        products = RecordTable(records, "data_products", ProductDoc, keys=DEFINITION_KEYS)
        transformations = RecordTable(
            records, "transformations", TransformationDoc, keys=DEFINITION_KEYS
        )
        handlers: dict[RunKind, RunHandler] = {
            RunKind.INGESTION: IngestionRunHandler(ingestion),
            RunKind.SPARK: SparkRunHandler(spark, catalog, sources, warehouse),
            RunKind.DBT: ModelRunHandler(warehouse, catalog, transformations),
            RunKind.DATA_PRODUCT: ModelRunHandler(warehouse, catalog, products),
        }
        observers: list[Observer] = [partial(count_ended_run, metrics)]
        runs = RunService(
            store=store,
            catalog=records,
            settings=settings,
            handlers=handlers,
            observers=observers,
            owners={
                RunKind.INGESTION: lambda id_: _creator_of_ingestion(ingestion, id_),
                RunKind.DATA_PRODUCT: lambda id_: _creator_of_product(products, id_),
            },
            telemetry=telemetry,
        )
        idempotency = IdempotencyStore(store)
        idempotency.open()
        stack.push_async_callback(idempotency.close)
        project = DbtProject(
            lake=lake,
            target=project_target(settings, lake),
            sql_guard=sql_guard,
            project_dir=settings.project_dir,
            profiles_dir=settings.profiles_dir,
        )
        dbt = DbtService(
            records=transformations,
            runs=runs,
            sql_guard=sql_guard,
            engine=warehouse,
            catalog=catalog,
            project=project,
        )
        data_products = DataProductService(
            records=products,
            runs=runs,
            sql_guard=sql_guard,
            engine=warehouse,
            catalog=catalog,
            idempotency=idempotency,
            silver_schema=settings.silver_schema,
            gold_schema=settings.gold_schema,
            on_change=project.changed,
        )
        project.follow(dbt.models)
        project.follow(data_products.models)
        await project.open()
        stack.push_async_callback(project.close)
        audit = AuditTrail(store, records)
        audit.open()
        stack.push_async_callback(audit.close)
        await runs.open()
        stack.push_async_callback(runs.close)
        _register_gauges(metrics, foundation, runs, audit)
        freshness = FreshnessWatch(data_products, metrics)
        observers.append(freshness.run_ended)
        freshness.open()
        stack.push_async_callback(freshness.close)
        starts = [*foundation.warm] if settings.warm_workers else []
        starts.append(partial(report_layers, settings, metrics))
        warming = asyncio.create_task(_warm(starts))
        stack.push_async_callback(_stop, warming)
        yield ProcessContext(
            settings=settings,
            lake=lake,
            store=store,
            catalog=catalog,
            runs=runs,
            idempotency=idempotency,
            authenticator=access,
            audit=audit,
            airbyte=AirbyteService(
                engine=ingestion, runs=runs, idempotency=idempotency, settings=settings
            ),
            spark=SparkService(
                settings=settings,
                lake=lake,
                engine=spark,
                policy=foundation.policy,
                catalog=catalog,
                sql_guard=sql_guard,
                sources=sources,
                runs=runs,
            ),
            dbt=dbt,
            data_products=data_products,
            probes=foundation.probes,
        )


async def _creator_of_ingestion(engine: IngestionEngine, ingestion_id: str) -> str:
    return (await engine.ingestion(ingestion_id)).created_by


async def _creator_of_product(products: RecordTable[ProductDoc], product_id: str) -> str | None:
    record = await products.get(product_id)
    return record.created_by if record else None


def _register_gauges(
    metrics: Metrics, foundation: Foundation, runs: RunService, audit: AuditTrail
) -> None:
    """Register the values that are read when metrics are requested."""
    watch_open_runs(metrics, runs.counts)
    metrics.endings_waiting.set_function(lambda: runs.endings_waiting)
    metrics.oldest_ending.set_function(lambda: runs.oldest_ending_seconds)
    metrics.audit_waiting.set_function(lambda: audit.waiting)
    store, catalog = foundation.store, foundation.catalog
    metrics.calls_waiting.labels("s3").set_function(lambda: store.waiting)
    metrics.calls_waiting.labels("catalog").set_function(lambda: catalog.waiting)


async def _warm(starts: list[Callable[[], Awaitable[None]]]) -> None:
    """Start workers one after another, so that the first requests do not wait for them."""
    for start in starts:
        try:
            await start()
        except Exception:
            log.exception("A worker did not start. It is started again when it is needed.")


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
