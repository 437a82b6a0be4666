"""The preparations of an administrator for Asgard, and lookups for tests."""

import time
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from app.lakehouse.connection import Lake
from tests.integration.servers.kube import GATEWAY_USER, KubeServer
from tests.integration.servers.spark_crd import spark_application_crd

GROUP, VERSION, PLURAL = "sparkoperator.k8s.io", "v1beta2", "sparkapplications"
RULES: list[dict[str, Any]] = [
    {
        "apiGroups": [GROUP],
        "resources": [PLURAL],
        "verbs": ["create", "get", "list", "watch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
]
"""Exactly the verbs that the gateway uses."""


@dataclass(frozen=True)
class Cluster:
    """A cluster with the `client` of an admin."""

    kube: KubeServer
    client: Any
    namespace: str

    @property
    def core(self) -> Any:
        from kubernetes.client import CoreV1Api

        return CoreV1Api(self.client)

    @property
    def custom(self) -> Any:
        from kubernetes.client import CustomObjectsApi

        return CustomObjectsApi(self.client)

    def application(self, name: str) -> dict[str, Any]:
        resource: dict[str, Any] = self.custom.get_namespaced_custom_object(
            GROUP, VERSION, self.namespace, PLURAL, name
        )
        return resource

    def names(self) -> list[str]:
        listed = self.custom.list_namespaced_custom_object(GROUP, VERSION, self.namespace, PLURAL)
        return [item["metadata"]["name"] for item in listed["items"]]

    def delete(self, name: str) -> None:
        self.custom.delete_namespaced_custom_object(GROUP, VERSION, self.namespace, PLURAL, name)

    def patch(self, name: str, body: dict[str, Any]) -> None:
        self.custom.patch_namespaced_custom_object(
            GROUP, VERSION, self.namespace, PLURAL, name, body
        )

    def patch_status(self, name: str, status: dict[str, Any]) -> None:
        body = {"status": {"driverInfo": {"podName": f"{name}-driver"}, **status}}
        self.custom.patch_namespaced_custom_object_status(
            GROUP, VERSION, self.namespace, PLURAL, name, body
        )


def prepare(cluster: Cluster, lake: Lake) -> None:
    install_crd(cluster)
    create_namespace(cluster, cluster.namespace, RULES)
    core = cluster.core
    core.create_namespaced_service_account(cluster.namespace, {"metadata": {"name": "spark-sa"}})
    secret = {
        "AWS_ACCESS_KEY_ID": lake.s3.access_key,
        "AWS_SECRET_ACCESS_KEY": lake.s3.secret_key,
        "ICEBERG_REST_CREDENTIAL": lake.catalog.credential or "",
    }
    data = {name: b64encode(value.encode()).decode() for name, value in secret.items()}
    core.create_namespaced_secret(
        cluster.namespace, {"metadata": {"name": "s3-credentials"}, "data": data}
    )


def install_crd(cluster: Cluster) -> None:
    from kubernetes.client import ApiException, ApiextensionsV1Api

    ApiextensionsV1Api(cluster.client).create_custom_resource_definition(spark_application_crd())
    for _ in range(200):
        try:
            cluster.custom.list_namespaced_custom_object(GROUP, VERSION, "default", PLURAL)
        except ApiException:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the CRD is not served")


def create_namespace(cluster: Cluster, name: str, rules: list[dict[str, Any]]) -> None:
    from kubernetes.client import RbacAuthorizationV1Api

    cluster.core.create_namespace({"metadata": {"name": name}})
    rbac = RbacAuthorizationV1Api(cluster.client)
    rbac.create_namespaced_role(name, {"metadata": {"name": "asgard"}, "rules": rules})
    kind, namespace, account = GATEWAY_USER.split(":")[1:]
    assert kind == "serviceaccount"
    binding = {
        "metadata": {"name": "asgard"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "asgard"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
    rbac.create_namespaced_role_binding(name, binding)
