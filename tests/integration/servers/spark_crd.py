"""The SparkApplication CRD, built from the models that the operator's project publishes on PyPI
(they are generated from its own OpenAPI)."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.integration.servers.cache import cache_dir, check_sums, run

WHEEL = "kubeflow_spark_api-2.4.0-py3-none-any.whl"
SUMS = Path(__file__).parent / "spark_crd.sha256"
ENUMS = {
    ("spec", "mode"): ["cluster", "client"],
    ("spec", "type"): ["Java", "Python", "Scala", "R"],
    ("spec", "pythonVersion"): ["2", "3"],
    ("spec", "restartPolicy", "type"): ["Never", "Always", "OnFailure"],
}
Schema = dict[str, Any]


def spark_application_crd() -> Schema:
    names = {
        "plural": "sparkapplications",
        "singular": "sparkapplication",
        "kind": "SparkApplication",
        "listKind": "SparkApplicationList",
        "shortNames": ["sparkapp"],
    }
    version = {
        "name": "v1beta2",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _schema()},
        "subresources": {"status": {}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "sparkapplications.sparkoperator.k8s.io",
            "annotations": {
                "api-approved.kubernetes.io": "https://github.com/kubeflow/spark-operator/pull/1298"
            },
        },
        "spec": {
            "group": "sparkoperator.k8s.io",
            "scope": "Namespaced",
            "names": names,
            "versions": [version],
        },
    }


def _schema() -> Schema:
    models = import_models()
    whole = models.SparkV1beta2SparkApplication.model_json_schema(by_alias=True)
    schema = _structural(whole, whole["$defs"])
    schema["properties"]["metadata"] = {"type": "object"}
    for path, values in ENUMS.items():
        node = schema
        for name in path:
            node = node["properties"][name]
        node["enum"] = values
    return schema


def import_models() -> Any:
    folder = cache_dir() / "kubeflow-spark-api"
    if not (folder / WHEEL).exists():
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
        run(*pip, "kubeflow-spark-api==2.4.0")
    check_sums(folder, SUMS)
    sys.path.insert(0, str(folder / WHEEL))
    try:
        return import_module("kubeflow_spark_api.models")
    finally:
        sys.path.remove(str(folder / WHEEL))


def _structural(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """Return the schema without references, nulls and titles, as Kubernetes requires."""
    if reference := node.get("$ref"):
        return _structural(definitions[reference.rpartition("/")[2]], definitions)
    if choices := node.get("anyOf") or node.get("allOf"):
        left = [choice for choice in choices if choice.get("type") != "null"]
        if len(left) > 1:
            return {"x-kubernetes-int-or-string": True}  # a quantity
        return _structural(left[0], definitions)
    kind = node.get("type")
    if kind is None:
        return {"x-kubernetes-preserve-unknown-fields": True}
    structural: Schema = {"type": kind}
    if node.get("format") == "date-time":
        structural["format"] = "date-time"
    if kind == "array":
        structural["items"] = _structural(node["items"], definitions)
    if "properties" in node:
        structural["properties"] = {
            name: _structural(child, definitions) for name, child in node["properties"].items()
        }
        if required := node.get("required"):
            structural["required"] = required
    elif isinstance(values := node.get("additionalProperties"), dict):
        structural["additionalProperties"] = _structural(values, definitions)
    elif kind == "object":
        structural["x-kubernetes-preserve-unknown-fields"] = True
    return structural
