"""The SparkApplication of a run, without secrets."""

import re
from dataclasses import dataclass
from typing import Any

from app.data_transformation.engine import SparkJob
from app.data_transformation.kubernetes.application import (
    GROUP,
    MANAGED_BY,
    MANAGER,
    RUN_ID_LABEL,
    VERSION,
    application_name,
)
from app.data_transformation.resources import memory_bytes
from app.lakehouse.connection import Lake

JOB_SCRIPT = "local:///opt/asgard/job.py"
"""Where `spark.Dockerfile` puts `job.py`."""
REQUEST_ID_ANNOTATION = "asgard.io/request-id"
REQUEST_ID_LABEL = "asgard.io/request-id"
LABEL = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?")
S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
CATALOG_KEY = "ICEBERG_REST_CREDENTIAL"
"""A key of the same Secret, `CLIENT_ID:CLIENT_SECRET`, for a catalog that requires OAuth2."""
TOKEN_KEY = "ICEBERG_REST_TOKEN"  # noqa: S105 — a name, not a secret
"""A key of the same Secret, for a catalog that requires a bearer token."""
PRIVATE = {
    # Any pod that reaches a driver could otherwise register as its executor, and get its tasks. On
    # Kubernetes, Spark makes a secret for each application.
    "spark.authenticate": "true",
    "spark.network.crypto.enabled": "true",
    # By default, Spark's encryption does not detect changed messages.
    "spark.network.crypto.authEngineVersion": "2",
    "spark.network.crypto.cipher": "AES/GCM/NoPadding",
    "spark.network.crypto.saslFallback": "false",
    # The UI has no authentication. It shows SQL, and a GET kills a job.
    "spark.ui.enabled": "false",
    "spark.ui.killEnabled": "false",
}
"""Settings that keep other pods out of an application."""
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True)
class SparkSettings:
    """The settings of every application. Times are in seconds."""

    namespace: str
    image: str
    version: str
    service_account: str
    secret_name: str
    ttl: int
    retries: int
    dynamic_allocation: bool
    prometheus: bool
    hides_history: bool
    """The catalog shows only the newest snapshot, so it may hide whether an append already
    happened."""


def manifest(job: SparkJob, settings: SparkSettings, lake: Lake, request_id: str | None) -> Any:
    labels = {MANAGED_BY: MANAGER, RUN_ID_LABEL: job.run_id}
    if request_id is not None and LABEL.fullmatch(request_id):
        labels[REQUEST_ID_LABEL] = request_id
    metadata: dict[str, Any] = {
        "name": application_name(job.run_id),
        "namespace": settings.namespace,
        "labels": labels,
    }
    if request_id is not None:
        metadata["annotations"] = {REQUEST_ID_ANNOTATION: request_id}
    spec: dict[str, Any] = {
        "type": "Python",
        "pythonVersion": "3",
        "mode": "cluster",
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "mainApplicationFile": JOB_SCRIPT,
        "arguments": [f"s3a://{lake.s3.bucket}/{job_key(job.run_id)}"],
        "sparkVersion": settings.version,
        # Asgard repeats attempts itself: the operator would also repeat those that fail for good,
        # and deletes the pod, with its log, as soon as it has failed.
        "restartPolicy": {"type": "Never"},
        "timeToLiveSeconds": settings.ttl,
        "sparkConf": {
            "spark.kubernetes.executor.podNamePrefix": application_name(job.run_id),
            **_sql_conf(lake),
            **PRIVATE,
        },
        "hadoopConf": _hadoop_conf(lake),
        "driver": {
            "cores": job.resources.driver_cores,
            "memory": _jvm(job.resources.driver_memory),
            "serviceAccount": settings.service_account,
            **_pod(labels, settings, lake),
        },
        "executor": {
            "instances": job.resources.executor_instances,
            "cores": job.resources.executor_cores,
            "memory": _jvm(job.resources.executor_memory),
            **_pod(labels, settings, lake),
        },
    }
    if settings.dynamic_allocation:
        spec["dynamicAllocation"] = {
            "enabled": True,
            "initialExecutors": 1,
            "minExecutors": 1,
            "maxExecutors": job.resources.executor_instances,
        }
    if settings.prometheus:
        # Spark serves the metrics of executors only as a page of its UI.
        spec["sparkConf"] |= {"spark.ui.enabled": "true", "spark.ui.prometheus.enabled": "true"}
        spec["driver"]["annotations"] = {
            "prometheus.io/scrape": "true",
            "prometheus.io/path": "/metrics/executors/prometheus/",
            "prometheus.io/port": "4040",
        }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "SparkApplication",
        "metadata": metadata,
        "spec": spec,
    }


def job_key(run_id: str) -> str:
    """Returns the key of the job file. SQL of clients cannot read anything under `asgard/`."""
    return f"asgard/jobs/{run_id}.json"


def _pod(labels: dict[str, str], settings: SparkSettings, lake: Lake) -> dict[str, Any]:
    """Returns the fields of a pod. Without keys, Asgard uses AWS's chain, and so do the drivers."""
    keys = [*S3_KEYS] if lake.s3.access_key else []
    if lake.catalog.credential:
        keys.append(CATALOG_KEY)
    elif lake.catalog.token:
        keys.append(TOKEN_KEY)
    return {
        "labels": labels,
        "securityContext": CONTAINER_SECURITY,
        "envSecretKeyRefs": {key: {"name": settings.secret_name, "key": key} for key in keys},
    }


def _sql_conf(lake: Lake) -> dict[str, str]:
    catalog = f"spark.sql.catalog.{lake.catalog_name}"
    conf = {
        "spark.sql.extensions": (
            "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
        ),
        # As on Spark 4 and the embedded engine: a failed cast is an error, not a null.
        "spark.sql.ansi.enabled": "true",
        # Spark would replace ${env:…} in SQL after the guard has checked it.
        "spark.sql.variable.substitute": "false",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalog}.type": "rest",
        f"{catalog}.uri": lake.catalog.uri,
        f"{catalog}.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        f"{catalog}.client.region": lake.s3.region,
    }
    if lake.catalog.warehouse:
        conf[f"{catalog}.warehouse"] = lake.catalog.warehouse
    if lake.s3.endpoint:
        conf[f"{catalog}.s3.endpoint"] = lake.s3.endpoint
        conf[f"{catalog}.s3.path-style-access"] = "true"
    if lake.catalog.credential:
        conf |= {
            f"{catalog}.rest.auth.type": "oauth2",
            f"{catalog}.oauth2-server-uri": lake.catalog.token_url,
            # Iceberg reads it from the environment of the pods.
            f"{catalog}.credential": f"env:{CATALOG_KEY}",
            f"{catalog}.scope": "catalog",
        }
    elif lake.catalog.token:
        conf[f"{catalog}.token"] = f"env:{TOKEN_KEY}"
    return conf


def _hadoop_conf(lake: Lake) -> dict[str, str]:
    """Returns the S3A settings. Its default chain reads keys from the environment. Without keys,
    AWS's own chain is used."""
    conf = {"fs.s3a.endpoint.region": lake.s3.region}
    if not lake.s3.access_key:
        chain = "com.amazonaws.auth.DefaultAWSCredentialsProviderChain"
        conf["fs.s3a.aws.credentials.provider"] = chain
    if lake.s3.endpoint:
        conf |= {
            "fs.s3a.endpoint": lake.s3.endpoint,
            "fs.s3a.path.style.access": "true",
            "fs.s3a.connection.ssl.enabled": str(lake.s3.endpoint.startswith("https:")).lower(),
        }
    return conf


def _jvm(memory: str) -> str:
    """Returns the size as the JVM writes it: `1Gi` is `1024m`."""
    return f"{memory_bytes(memory) // 2**20}m"
