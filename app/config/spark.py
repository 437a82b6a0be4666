from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.config.section import Section
from app.config.values import (
    DAY,
    MONTH,
    File,
    Image,
    KubernetesName,
    Namespace,
    Seconds,
    Version,
    WholeSeconds,
)


class Spark(Section):
    model_config = SettingsConfigDict(title="Spark")

    spark_namespace: Namespace = "spark-operator"
    """The namespace in which SparkApplications are made."""
    spark_image: Image | None = Field(
        default=None, examples=["registry.example.com/spark-custom:latest"]
    )
    """The image of drivers and executors, as `spark.Dockerfile` builds it. Unset: Spark SQL runs
    in the gateway itself."""
    spark_service_account: KubernetesName = "spark-sa"
    """The ServiceAccount of the drivers."""
    s3_secret_name: KubernetesName = "s3-credentials"  # noqa: S105 — a name, not a secret
    """The Secret in SPARK_NAMESPACE with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
    spark_version: Version = "3.5.0"
    """Of SPARK_IMAGE."""
    spark_submit_timeout: Seconds = Field(default=600, gt=0, le=DAY)
    """How long an application may wait before it runs."""
    spark_ttl_seconds: WholeSeconds = Field(default=86_400, ge=60, le=MONTH)
    """How long a SparkApplication that completed or failed stays in the cluster."""
    spark_retries: int = Field(default=1, ge=0, le=10)
    """How often an attempt that failed is repeated. Errors of the SQL, of rights and lack of memory
    are not."""
    spark_dynamic_allocation: bool = False
    """Executors come and go between 1 and `executor_instances`."""
    spark_prometheus: bool = False
    """Drivers and executors show their metrics to Prometheus."""
    kubeconfig: File | None = Field(default=None, examples=["/home/me/.kube/config"])
    """Outside a cluster. Default: `~/.kube/config`."""
