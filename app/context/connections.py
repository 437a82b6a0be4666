"""Creates the connections to production engines from the settings."""

from app.config import Settings
from app.data_transformation.kubernetes.api import KubernetesApi
from app.lakehouse.connection import Lake
from app.telemetry.calls import SILENT, Telemetry
from app.warehouse.dbt.profiles import ProjectTarget
from app.warehouse.duckdb.dbt_project import DuckDbTarget
from app.warehouse.trino.connection import TrinoConnection
from app.warehouse.trino.dbt_project import TrinoTarget


def kubernetes_api(settings: Settings, telemetry: Telemetry = SILENT) -> KubernetesApi:
    return KubernetesApi(
        settings.spark_namespace,
        in_cluster=settings.kubernetes_service_host is not None,
        kubeconfig=settings.kubeconfig,
        telemetry=telemetry,
    )


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
