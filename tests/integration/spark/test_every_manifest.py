"""The API server accepts every manifest of the gateway with strict validation."""

from dataclasses import replace
from typing import Any

import pytest

from app.data_transformation.engine import SparkJob, WriteMode
from app.data_transformation.kubernetes.manifest import manifest
from app.data_transformation.resources import SparkResources
from tests.conftest import Lakehouse
from tests.integration.spark.cluster import GROUP, PLURAL, VERSION, Cluster
from tests.integration.spark.operator_runs import common

RUN_ID = "0123456789abcdef" * 2


def job(mode: str, **resources: Any) -> SparkJob:
    return SparkJob(
        run_id=RUN_ID,
        sources=(),
        views=(),
        select="SELECT 1 AS id",
        tables=(),
        destination="silver.t",
        write_mode=WriteMode(mode),
        resources=SparkResources(**resources),
    )


@pytest.mark.parametrize("mode", list(WriteMode))
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"retries": 0},
        {"hides_history": False},
        {"dynamic_allocation": True},
        {"prometheus": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("request_id", [None, "r-1", "not a label / at all"])
@pytest.mark.parametrize("aws", [False, True])
def test_a_manifest_is_valid(
    cluster: Cluster,
    lakehouse: Lakehouse,
    mode: str,
    changes: dict[str, Any],
    request_id: str | None,
    aws: bool,
) -> None:
    lake = lakehouse.lake
    if aws:
        lake = replace(
            lake,
            s3=replace(lake.s3, endpoint=None, access_key=None, secret_key=None),
            catalog=replace(
                lake.catalog, credential=None, oauth2_server_uri=None, token="bearer-of-asgard"
            ),
        )
    settings = common(cluster.namespace, **changes)
    resources = {"executor_instances": 3, "executor_memory": "1Gi", "driver_memory": "600mb"}
    body = manifest(job(mode, **resources), settings, lake, request_id)
    created = cluster.custom.create_namespaced_custom_object(
        GROUP,
        VERSION,
        cluster.namespace,
        PLURAL,
        body,
        dry_run="All",
        field_validation="Strict",
    )
    assert created["metadata"]["name"] == f"sql-exec-{RUN_ID}"
    labels = created["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "asgard"
    assert labels["asgard.io/run-id"] == RUN_ID
    assert labels.get("asgard.io/request-id") == ("r-1" if request_id == "r-1" else None)
    spec = created["spec"]
    assert (spec["executor"]["memory"], spec["driver"]["memory"]) == ("1024m", "600m")
    assert spec["restartPolicy"] == {"type": "Never"}
    prefix = spec["sparkConf"]["spark.kubernetes.executor.podNamePrefix"]
    assert prefix == f"sql-exec-{RUN_ID}"
    for pod in ("driver", "executor"):
        references = spec[pod]["envSecretKeyRefs"]
        assert {name: ref["name"] for name, ref in references.items()} == dict.fromkeys(
            references, "s3-credentials"
        )
        keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "ICEBERG_REST_CREDENTIAL"}
        assert set(references) == ({"ICEBERG_REST_TOKEN"} if aws else keys)
        assert spec[pod]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    conf = spec["sparkConf"]
    assert (conf["spark.authenticate"], conf["spark.network.crypto.enabled"]) == ("true", "true")
    assert conf["spark.ui.enabled"] == ("true" if changes.get("prometheus") else "false")
    assert "bearer-of-asgard" not in str(created)
    assert str(lakehouse.lake.s3.secret_key) not in str(created)


def test_an_unknown_field_is_refused(cluster: Cluster, lakehouse: Lakehouse) -> None:
    """The proof that the test above can fail."""
    from kubernetes.client import ApiException

    body = manifest(job("append"), common(cluster.namespace), lakehouse.lake, None)
    body["spec"]["driver"]["memori"] = "1g"
    with pytest.raises(ApiException) as refused:
        cluster.custom.create_namespaced_custom_object(
            GROUP, VERSION, cluster.namespace, PLURAL, body, field_validation="Strict"
        )
    assert refused.value.status == 400
    assert 'unknown field \\"spec.driver.memori\\"' in refused.value.body
