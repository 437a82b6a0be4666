"""Writes into helmchart/values.schema.json what app/config says of each setting.

Usage: .venv/bin/python script/chart_settings.py [--check]
--check changes nothing: exit 1 when the file differs. Run it after a setting was added; its key
goes into helmchart/values.yaml by hand.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from app.config import Settings
from app.config.reference import variable

SCHEMA = Path(__file__).parent.parent / "helmchart" / "values.schema.json"
ELSEWHERE = {
    "s3_bucket": "s3Bucket",
    "auth_mode": "auth.mode",
    "auth_api_key_file": "auth.apiKey",
    "auth_keys_file": "auth.keys",
    "aws_access_key_id": "awsCredentials",
    "aws_secret_access_key": "awsCredentials",
}
"""Settings with a value of their own outside `config`."""
NOT_IN_A_CLUSTER = frozenset(
    {
        "kubernetes_service_host",  # the kubelet sets it
        "port",  # the image's
        "kubeconfig",  # the ServiceAccount goes before it
        "asgard_embedded",  # refused in production
        "connectors_allowed",  # of the embedded engine
        "ingestion_allowed_dirs",  # of the embedded engine
    }
)
TEXT = {"type": ["string", "null"]}
SECRET = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "required": ["name", "key"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "key": {"type": "string", "minLength": 1},
    },
}


def key_of(field: str) -> str:
    """trino_host → trinoHost"""
    return re.sub("_([a-z0-9])", lambda found: found[1].upper(), field)


def chart_fields(*, secret: bool) -> list[str]:
    known = (name for name in Settings.model_fields if name not in ELSEWHERE)
    return [n for n in known if n not in NOT_IN_A_CLUSTER and variable(n).is_secret is secret]


def value_schema(described: dict[str, Any]) -> dict[str, Any]:
    """Of one value; null leaves Asgard's own default."""
    choices = [c for c in described.get("anyOf", [described]) if c.get("type") != "null"]
    found = {**described, **choices[0]}
    if "$ref" in found:
        found |= DEFINITIONS[found["$ref"].rpartition("/")[2]]
    if "enum" in found or "const" in found:
        return {"enum": [*found.get("enum", [found.get("const")]), None]}
    match found.get("type"):
        case "array":
            return {"type": ["array", "string", "null"], "items": {"type": "string"}}
        case "object":
            return {"type": ["object", "string", "null"]}
        case "integer" | "number" | "boolean" as kind:
            bounds = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
            return {"type": [kind, "null"], **{b: found[b] for b in bounds if b in found}}
        case _:
            return TEXT


def current() -> str:
    schema = json.loads(SCHEMA.read_text())
    described = Settings.model_json_schema()["properties"]
    schema["properties"]["config"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            key_of(name): value_schema(described[name]) for name in chart_fields(secret=False)
        },
    }
    # "*" or host names: Helm has to tell them apart.
    schema["properties"]["config"]["properties"]["trustedHosts"] = {
        "type": "array",
        "minItems": 1,
        "items": {"type": "string", "minLength": 1},
    }
    schema["properties"]["secretConfig"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key_of(name): SECRET for name in chart_fields(secret=True)},
    }
    return json.dumps(schema, indent=2) + "\n"


DEFINITIONS: dict[str, Any] = Settings.model_json_schema().get("$defs", {})

if __name__ == "__main__":
    if sys.argv[1:] == ["--help"]:
        print(__doc__)
    elif sys.argv[1:] == ["--check"]:
        sys.exit(0 if SCHEMA.read_text() == current() else "values.schema.json is out of date")
    else:
        SCHEMA.write_text(current())
