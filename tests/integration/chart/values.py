"""Five ways to run the chart, from the least that must be said to everything there is."""

from typing import Any

LEAST: dict[str, Any] = {"s3Bucket": "lake"}
DOCUMENTED: dict[str, Any] = {
    "s3Bucket": "lake",
    "replicaCount": 2,
    "image": {
        "repository": "registry.example.com/asgard",
        "tag": "latest",
        "pullPolicy": "Always",
    },
    "service": {"type": "LoadBalancer", "port": 80, "targetPort": 8000},
    "env": [
        {
            "name": "AIRBYTE_BASE_URL",
            "value": "http://airbyte.airbyte.svc.cluster.local:8001/api/public/v1",
        },
        {"name": "TRINO_HOST", "value": "trino.data-platform.svc.cluster.local"},
        {"name": "TRINO_PORT", "value": "8080"},
        {"name": "SPARK_NAMESPACE", "value": "elsewhere"},
        {"name": "DBT_PROJECT_DIR", "value": "/data/dbt"},
    ],
    "resources": {
        "limits": {"cpu": "2000m", "memory": "2Gi"},
        "requests": {"cpu": "500m", "memory": "512Mi"},
    },
}
"""The documentation's values.yaml, with another namespace and directory, to see them used."""
EVERYTHING: dict[str, Any] = {
    "s3Bucket": "lake",
    "auth": {"mode": "oidc"},
    "service": {"type": "ClusterIP"},
    "sparkRbac": {"create": True},
    "autoscaling": {"enabled": True},
    "networkPolicy": {
        "enabled": True,
        "ingressFrom": [{"podSelector": {}}],
        "sparkMetricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "extraEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}],
    },
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": ["asgard.example.com"],
        "tls": [{"hosts": ["asgard.example.com"], "secretName": "asgard-tls"}],
    },
    "gateway": {
        "enabled": True,
        "parentRefs": [{"name": "public", "namespace": "elsewhere"}],
        "hostnames": ["asgard.example.com"],
    },
    "serviceMonitor": {
        "enabled": True,
        "credentials": {"name": "prometheus", "key": "token"},
    },
    "prometheusRule": {"enabled": True},
    "grafanaDashboard": {"enabled": True},
    "config": {"trustedHosts": ["asgard.example.com"], "maxBodyBytes": 4194304},
    "secretConfig": {"trinoPassword": {"name": "trino", "key": "password"}},
}
OPEN: dict[str, Any] = {
    "s3Bucket": "lake",
    "auth": {"mode": "none"},
    "replicaCount": 1,
    "podDisruptionBudget": {"enabled": False},
    "schemasJob": {"enabled": False},
    "serviceMonitor": {"enabled": True},
}
CLOUD: dict[str, Any] = {
    "s3Bucket": "lake",
    "awsCredentials": "chain",
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}},
    "config": {"nessieUri": None, "icebergRestUri": "https://catalog.example.com"},
    "secretConfig": {"icebergRestCredential": {"name": "catalog", "key": "credential"}},
    "service": {"annotations": {"service.example.com/scheme": "internal"}},
    "readinessProbe": {"path": "/health/ready"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
}
VALUE_SETS = {
    "least": LEAST,
    "documented": DOCUMENTED,
    "everything": EVERYTHING,
    "open": OPEN,
    "cloud": CLOUD,
}
