"""Creates the engine behind each port: production's if its settings are set, else the embedded
one."""

from app.airbyte.engine import IngestionEngine
from app.airbyte.local.engine import LocalIngestionEngine
from app.airbyte.remote.engine import RemoteIngestionEngine
from app.config import Settings
from app.context.connections import kubernetes_api
from app.context.foundation import Foundation
from app.data_transformation.engine import SparkEngine
from app.data_transformation.kubernetes.engine import SparkOperatorEngine
from app.data_transformation.kubernetes.manifest import SparkSettings
from app.data_transformation.sail.engine import SparkConnectEngine
from app.lakehouse.connection import Lake
from app.warehouse.adapters import sql_adapter
from app.warehouse.dbt.profiles import ProjectTarget
from app.warehouse.engine import SqlEngine


async def ingestion_engine(foundation: Foundation) -> IngestionEngine:
    if foundation.settings.is_production("ingestion"):
        airbyte = RemoteIngestionEngine(
            settings=foundation.settings,
            lake=foundation.lake,
            store=foundation.store,
            telemetry=foundation.telemetry,
        )
        foundation.stack.push_async_callback(airbyte.close)
        airbyte.follower.open()
        foundation.probes["airbyte"] = airbyte.client.probe
        return airbyte
    engine = LocalIngestionEngine(
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


def spark_engine(foundation: Foundation) -> SparkEngine:
    if foundation.settings.is_production("spark"):
        return _spark_operator(foundation)
    engine = SparkConnectEngine(
        sail_lake=foundation.sail_lake,
        publisher_lake=foundation.silver_publisher_lake,
        store=foundation.store,
        catalog=foundation.catalog,
        home=foundation.settings.home,
        telemetry=foundation.telemetry,
    )
    foundation.stack.push_async_callback(engine.close)
    foundation.warm.append(engine.warm)
    return engine


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
            hides_history=foundation.lake.catalog.hides_history,
        ),
        submit_timeout=settings.spark_submit_timeout,
        run_timeout=settings.run_timeout,
    )
    operator.open()
    foundation.stack.push_async_callback(operator.close)
    return operator


def sql_engine(foundation: Foundation) -> SqlEngine:
    created = sql_adapter(foundation.settings).create(foundation)
    foundation.stack.push_async_callback(created.close)
    foundation.warm.append(created.warm)
    foundation.probes.update(created.probes)
    return created.engine


def project_target(settings: Settings, lake: Lake) -> ProjectTarget:
    return sql_adapter(settings).project_target(settings, lake)
