"""Builds, owns and closes every client, engine and background task; nothing else makes one."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app.airbyte.airbyte_api import AirbyteApi
from app.airbyte.driver import IngestionDriver
from app.airbyte.engine import IngestionEngine
from app.airbyte.local_connectors import LocalConnectors
from app.airbyte.service import AirbyteService
from app.audit.trail import AuditTrail
from app.auth.authenticator import Anybody, Authenticator, ByKey, ByToken
from app.auth.key_ring import KeyRing
from app.auth.oidc import Issuer, TokenJudge
from app.config import AuthMode, Settings
from app.data_products.freshness import FreshnessWatch
from app.data_products.record import ProductDoc
from app.data_products.service import DataProductService
from app.data_transformation.driver import SparkDriver
from app.data_transformation.engine import SparkEngine
from app.data_transformation.kubernetes_api import KubernetesApi
from app.data_transformation.manifest import SparkSettings
from app.data_transformation.service import SparkService
from app.data_transformation.sources import SourceResolver
from app.data_transformation.spark_connect import SparkConnectEngine
from app.data_transformation.spark_operator import SparkOperatorEngine
from app.dbt_transformations.record import TransformationDoc
from app.dbt_transformations.service import DbtService
from app.lakehouse.bronze import BronzeManifests
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.embedded import EmbeddedLakehouse, embedded_lakehouse
from app.lakehouse.external import ExternalLakehouse, external_lakehouse
from app.lakehouse.records import RecordTable
from app.lakehouse.storage import ObjectStore
from app.runs.driver import RunDriver
from app.runs.idempotency import IdempotencyStore
from app.runs.model import RunKind
from app.runs.service import RunService
from app.runs.supervisor import Observer
from app.sql.judge import SqlJudge
from app.sql.model import SqlPolicy
from app.telemetry.calls import SILENT, Telemetry
from app.telemetry.metrics import Metrics
from app.warehouse.dbt.project import DbtProject
from app.warehouse.dbt.project_targets import DuckDbTarget, ProjectTarget, TrinoTarget
from app.warehouse.driver import ModelDriver
from app.warehouse.duckdb import DuckDbEngine
from app.warehouse.engine import SqlEngine
from app.warehouse.trino import TrinoEngine
from app.warehouse.trino_connection import TrinoConnection

log = logging.getLogger(__name__)

Probe = Callable[[], Awaitable[object]]


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


@dataclass(frozen=True)
class Foundation:
    """What every engine stands on."""

    settings: Settings
    lake: Lake
    store: ObjectStore
    catalog: Catalog
    records: Catalog
    """The same catalog, on the branch that Asgard's own records are on."""
    judge: SqlJudge
    manifests: BronzeManifests
    telemetry: Telemetry
    stack: AsyncExitStack
    """Closes what is pushed onto it, in reverse order."""
    warm: list[Callable[[], Awaitable[None]]]
    """Starts the workers of those that have any, in the background once all are built."""
    probes: dict[str, Probe]
    """What readiness asks, by the name of the dependency."""

    @property
    def logs(self) -> Path:
        return self.settings.home / "logs"


@asynccontextmanager
async def open_context(
    settings: Settings, metrics: Metrics, telemetry: Telemetry
) -> AsyncIterator[ProcessContext]:
    """Opens everything in order and closes it in reverse, also when opening fails half-way."""
    async with AsyncExitStack() as stack:
        authenticator = _authenticator(settings, stack)
        lakehouse: EmbeddedLakehouse | ExternalLakehouse
        if settings.is_production("lake"):
            lakehouse = await stack.enter_async_context(external_lakehouse(settings, telemetry))
        else:
            lakehouse = await stack.enter_async_context(
                embedded_lakehouse(settings, telemetry=telemetry)
            )
        lake, store, catalog = lakehouse.lake, lakehouse.store, lakehouse.catalog
        records = lakehouse.records
        policy = SqlPolicy(
            silver_schema=settings.silver_schema,
            gold_schema=settings.gold_schema,
            bucket=lake.s3.bucket,
            allowed_prefixes=("bronze/", *settings.s3_allowed_prefixes),
        )
        judge = SqlJudge(
            policy, log_path=settings.home / "logs" / "sql-judge.log", telemetry=telemetry
        )
        stack.push_async_callback(judge.close)
        manifests = BronzeManifests(store)
        foundation = Foundation(
            settings,
            lake,
            store,
            catalog,
            records,
            judge,
            manifests,
            telemetry,
            stack,
            warm=[judge.warm],
            probes={
                "s3": lambda: store.get("asgard/health"),
                "catalog": lambda: catalog.run(lambda rest: rest.list_namespaces()),
            },
        )
        ingestion = await _ingestion_engine(foundation)
        spark = await _spark_engine(foundation)
        warehouse = await _sql_engine(foundation)
        sources = SourceResolver(store, manifests)
        models = ModelDriver(warehouse)
        drivers: dict[RunKind, RunDriver] = {
            RunKind.INGESTION: IngestionDriver(ingestion),
            RunKind.SPARK: SparkDriver(spark, catalog, sources),
            RunKind.DBT: models,
            RunKind.DATA_PRODUCT: models,
        }
        runs_seen: list[Observer] = [metrics.run_ended]
        runs = RunService(
            store=store,
            catalog=records,
            settings=settings,
            drivers=drivers,
            observers=runs_seen,
            telemetry=telemetry,
        )
        idempotency = IdempotencyStore(store)
        idempotency.open()
        stack.push_async_callback(idempotency.close)
        project = DbtProject(
            lake=lake,
            target=project_target(settings, lake),
            judge=judge,
            project_dir=settings.project_dir,
            profiles_dir=settings.profiles_dir,
        )
        dbt = DbtService(
            records=RecordTable(records, "transformations", TransformationDoc),
            runs=runs,
            judge=judge,
            engine=warehouse,
            catalog=catalog,
            idempotency=idempotency,
            project=project,
        )
        data_products = DataProductService(
            records=RecordTable(records, "data_products", ProductDoc),
            runs=runs,
            judge=judge,
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
        _follow(metrics, foundation, runs, audit)
        freshness = FreshnessWatch(data_products, metrics)
        runs_seen.append(freshness.run_ended)
        freshness.open()
        stack.push_async_callback(freshness.close)
        warming = asyncio.create_task(_warm(foundation.warm))
        stack.push_async_callback(_stop, warming)
        yield ProcessContext(
            settings=settings,
            lake=lake,
            store=store,
            catalog=catalog,
            runs=runs,
            idempotency=idempotency,
            authenticator=authenticator,
            audit=audit,
            airbyte=AirbyteService(
                engine=ingestion, runs=runs, idempotency=idempotency, settings=settings
            ),
            spark=SparkService(
                settings=settings,
                lake=lake,
                engine=spark,
                policy=policy,
                catalog=catalog,
                judge=judge,
                sources=sources,
                runs=runs,
                idempotency=idempotency,
            ),
            dbt=dbt,
            data_products=data_products,
            probes=foundation.probes,
        )


def _follow(metrics: Metrics, foundation: Foundation, runs: RunService, audit: AuditTrail) -> None:
    """What is looked at when somebody asks for the metrics."""
    metrics.follow_runs(runs.counts)
    metrics.endings_waiting.set_function(lambda: runs.endings_waiting)
    metrics.audit_waiting.set_function(lambda: audit.waiting)
    store, catalog = foundation.store, foundation.catalog
    metrics.calls_waiting.labels("s3").set_function(lambda: store.waiting)
    metrics.calls_waiting.labels("catalog").set_function(lambda: catalog.waiting)


def _authenticator(settings: Settings, stack: AsyncExitStack) -> Authenticator:
    match settings.authentication:
        case AuthMode.NONE:
            return Anybody()
        case AuthMode.API_KEY:
            return ByKey(KeyRing(settings.keys_file, settings.auth_api_key_file))
        case AuthMode.OIDC:
            judge = TokenJudge(issuer(settings))
            stack.push_async_callback(judge.close)
            return ByToken(judge)


def issuer(settings: Settings) -> Issuer:
    return Issuer(
        url=settings.oidc_issuer or "",
        audience=settings.oidc_audience or "",
        algorithms=settings.oidc_algorithms,
        clock_skew=settings.oidc_clock_skew,
        roles_claim=settings.oidc_roles_claim,
        role_scopes=settings.oidc_role_scopes,
    )


async def _ingestion_engine(foundation: Foundation) -> IngestionEngine:
    if foundation.settings.is_production("ingestion"):
        airbyte = AirbyteApi(
            settings=foundation.settings,
            lake=foundation.lake,
            store=foundation.store,
            telemetry=foundation.telemetry,
        )
        foundation.stack.push_async_callback(airbyte.close)
        airbyte.follower.open()
        foundation.probes["airbyte"] = airbyte.client.probe
        return airbyte
    engine = LocalConnectors(
        settings=foundation.settings,
        lake=foundation.lake,
        store=foundation.store,
        catalog=foundation.records,
        manifests=foundation.manifests,
        telemetry=foundation.telemetry,
    )
    await engine.open()
    foundation.stack.push_async_callback(engine.close)
    return engine


async def _spark_engine(foundation: Foundation) -> SparkEngine:
    if foundation.settings.is_production("spark"):
        return _spark_operator(foundation)
    engine = SparkConnectEngine(
        foundation.lake,
        foundation.store,
        foundation.catalog,
        log_path=foundation.logs / "spark-worker.log",
        telemetry=foundation.telemetry,
    )
    foundation.stack.push_async_callback(engine.close)
    foundation.warm.append(engine.warm)
    return engine


def kubernetes_api(settings: Settings, telemetry: Telemetry = SILENT) -> KubernetesApi:
    return KubernetesApi(
        settings.spark_namespace,
        in_cluster=settings.kubernetes_service_host is not None,
        kubeconfig=settings.kubeconfig,
        telemetry=telemetry,
    )


def _spark_operator(foundation: Foundation) -> SparkEngine:
    settings = foundation.settings
    api = kubernetes_api(settings, foundation.telemetry)
    foundation.probes["kubernetes"] = api.probe
    operator = SparkOperatorEngine(
        lake=foundation.lake,
        store=foundation.store,
        catalog=foundation.catalog,
        api=api,
        settings=SparkSettings(
            namespace=settings.spark_namespace,
            image=settings.spark_image or "",
            version=settings.spark_version,
            service_account=settings.spark_service_account,
            secret_name=settings.s3_secret_name,
            ttl=settings.spark_ttl_seconds,
            retries=settings.spark_retries,
            dynamic_allocation=settings.spark_dynamic_allocation,
            prometheus=settings.spark_prometheus,
            hides_history=settings.nessie_uri is not None,
        ),
        submit_timeout=settings.spark_submit_timeout,
        run_timeout=settings.run_timeout,
    )
    operator.open()
    foundation.stack.push_async_callback(operator.close)
    return operator


async def _sql_engine(foundation: Foundation) -> SqlEngine:
    settings = foundation.settings
    if settings.is_production("sql"):
        trino = TrinoEngine(
            connection=trino_connection(settings),
            catalog=foundation.catalog,
            store=foundation.store,
            judge=foundation.judge,
            home=settings.home,
            workers=settings.dbt_workers,
            telemetry=foundation.telemetry,
        )
        foundation.stack.push_async_callback(trino.close)
        foundation.warm.append(trino.warm)
        foundation.probes["trino"] = trino.reach
        return trino
    engine = DuckDbEngine(
        lake=foundation.lake,
        catalog=foundation.catalog,
        store=foundation.store,
        judge=foundation.judge,
        home=foundation.settings.home,
        workers=foundation.settings.dbt_workers,
        telemetry=foundation.telemetry,
    )
    foundation.stack.push_async_callback(engine.close)
    foundation.warm.append(engine.warm)
    return engine


def trino_connection(settings: Settings) -> TrinoConnection:
    password, token = settings.trino_password, settings.trino_jwt_token
    verify = {"true": True, "false": False}.get(settings.trino_verify.lower())
    return TrinoConnection(
        host=settings.trino_host or "",
        port=settings.trino_port,
        user=settings.trino_user,
        catalog=settings.trino_catalog,
        schema=settings.gold_schema,
        password=password.get_secret_value() if password else None,
        jwt_token=token.get_secret_value() if token else None,
        http_scheme=settings.trino_http_scheme,
        verify=settings.trino_verify if verify is None else verify,
    )


def project_target(settings: Settings, lake: Lake) -> ProjectTarget:
    if settings.is_production("sql"):
        return TrinoTarget(trino_connection(settings))
    return DuckDbTarget(lake)


async def _warm(starts: list[Callable[[], Awaitable[None]]]) -> None:
    """Starts workers one after the other, so that the first requests do not wait for theirs."""
    for start in starts:
        try:
            await start()
        except Exception:
            log.exception("a worker did not start; it is tried again when it is needed")


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
