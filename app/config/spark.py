from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.config.section import Section, Technology
from app.config.values import (
    DAY,
    MONTH,
    File,
    Image,
    KubernetesName,
    Namespace,
    Seconds,
    SparkVersion,
    WholeSeconds,
)


class Spark(Section):
    model_config = SettingsConfigDict(title="Spark")
    technology = Technology("spark", "kubernetes", ("spark_image",), workers_connect=False)

    spark_namespace: Namespace = "spark-operator"
    """Namespace in which SparkApplications are created."""
    spark_image: Image | None = Field(
        default=None, examples=["registry.example.com/spark-custom:latest"]
    )
    """Image of drivers and executors, built from `spark.Dockerfile`. If unset, Spark SQL runs in
    the gateway itself."""
    spark_service_account: KubernetesName = "spark-sa"
    """ServiceAccount of the drivers."""
    s3_secret_name: KubernetesName = "s3-credentials"  # noqa: S105 — a name, not a secret
    """Secret in SPARK_NAMESPACE with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    spark_version: SparkVersion = "3.5.9"
    """Spark version of SPARK_IMAGE. Versions before 3.5.9 can execute code that a Parquet file
    names."""
    spark_submit_timeout: Seconds = Field(default=600, gt=0, le=DAY)
    """Time limit for an application to start running."""
    spark_ttl_seconds: WholeSeconds = Field(default=86_400, ge=60, le=MONTH)
    """Time that a completed or failed SparkApplication stays in the cluster."""
    spark_retries: int = Field(default=1, ge=0, le=10)
    """Number of retries after a failed attempt. SQL errors, missing permissions and lack of memory
    are not retried."""
    spark_dynamic_allocation: bool = False
    """Whether the number of executors varies between 1 and `executor_instances`."""
    spark_prometheus: bool = False
    """Whether drivers and executors expose metrics for Prometheus."""
    kubeconfig: File | None = Field(default=None, examples=["/home/me/.kube/config"])
    """Kubeconfig to use outside a cluster. Default: `~/.kube/config`."""
