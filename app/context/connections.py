"""Creates the connections to production engines from the settings."""

from app.config import Settings
from app.data_transformation.kubernetes.api import KubernetesApi
from app.telemetry.calls import SILENT, Telemetry


def kubernetes_api(settings: Settings, telemetry: Telemetry = SILENT) -> KubernetesApi:
    return KubernetesApi(
        settings.spark_namespace,
        in_cluster=settings.kubernetes_service_host is not None,
        kubeconfig=settings.kubeconfig,
        telemetry=telemetry,
    )
