"""The connectors that the stand-in Airbyte has, their specs, and what their sources contain."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Definition:
    kind: str
    type: str
    id: str

    def document(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.type.title(),
            "dockerRepository": f"airbyte/{self.kind}-{self.type}",
            "dockerImageTag": "1.0.0",
            "documentationUrl": f"https://docs.airbyte.com/integrations/{self.kind}s/{self.type}",
        }


DEFINITIONS = (
    Definition("source", "toy", "00000000-0000-4000-8000-000000000001"),
    Definition("source", "faker", "dfd88b22-b603-4c3d-aad7-3701784586b1"),
    Definition("source", "file", "778daa7c-feaf-4db6-96f3-70fd645acc77"),
    Definition("source", "postgres", "decd338e-5647-4c0b-adf4-da0e75f5a750"),
    Definition("source", "mysql", "435bb9a5-7887-4809-aa58-28c27df0d7ad"),
    Definition("source", "mongodb-v2", "b2e713cd-cc36-4c0a-b5bd-b47cb8a0561e"),
    Definition("source", "kafka", "d917a47b-8537-4d0d-8c10-36a9928d4265"),
    Definition("destination", "s3", "4816b78f-1489-44c1-9060-4b19d5fa9362"),
)

_TEXT = {"type": "string"}
_SECRET = {"type": "string", "airbyte_secret": True}


def _protocol(name: str, **sasl: Any) -> dict[str, Any]:
    properties = {"security_protocol": {"const": name}, **sasl}
    return {"type": "object", "required": list(properties), "properties": properties}


_SASL_PLAINTEXT = _protocol(
    "SASL_PLAINTEXT", sasl_mechanism={"const": "PLAIN"}, sasl_jaas_config=_SECRET
)
_SASL_SSL = _protocol("SASL_SSL", sasl_mechanism=_TEXT, sasl_jaas_config=_SECRET)
SPECS: dict[str, dict[str, Any]] = {
    "toy": {
        "type": "object",
        "required": ["rows", "stream"],
        "additionalProperties": False,
        "properties": {
            "rows": {"type": "integer", "minimum": 0},
            "stream": _TEXT,
            "namespace": _TEXT,
            "password": _SECRET,
            "hang_after": {"type": "integer"},
            "fail_after": {"type": "integer"},
            "failure": {"type": "object"},
            "columns": {"type": "array"},
        },
    },
    "faker": {
        "type": "object",
        "properties": {"count": {"type": "integer", "minimum": 1, "default": 1000}},
    },
    "postgres": {
        "type": "object",
        "required": ["host", "port", "database", "username"],
        "properties": {"host": _TEXT, "port": {"type": "integer"}, "password": _SECRET},
    },
    "mysql": {
        "type": "object",
        "required": ["host", "port", "database", "username", "replication_method"],
        "properties": {"host": _TEXT, "port": {"type": "integer"}, "password": _SECRET},
    },
    "mongodb-v2": {"type": "object", "required": ["database_config"]},
    "kafka": {
        "type": "object",
        "required": ["bootstrap_servers", "subscription", "protocol"],
        "properties": {
            "bootstrap_servers": _TEXT,
            "protocol": {"oneOf": [_protocol("PLAINTEXT"), _SASL_PLAINTEXT, _SASL_SSL]},
        },
    },
    "file": {"type": "object", "required": ["dataset_name", "format", "url", "provider"]},
    "s3": {
        "type": "object",
        "required": ["s3_bucket_name", "s3_bucket_path", "s3_bucket_region", "format"],
        "properties": {"access_key_id": _SECRET, "secret_access_key": _SECRET},
    },
}


def discover(type_: str, config: dict[str, Any]) -> tuple[str | None, list[dict[str, Any]]]:
    """Return an error, or the streams of the source."""
    if type_ == "faker":
        fields = ["id", "name", "age"]
        return None, [{"name": "users", "cursor": ["updated_at"], "key": ["id"], "fields": fields}]
    if type_ != "toy":
        return None, [{"name": "users", "cursor": ["id"], "key": ["id"], "fields": ["id"]}]
    if config["rows"] == 13:
        return "Discovery failed: 13 is bad luck", []
    first = {
        "name": config["stream"],
        "namespace": config.get("namespace"),
        "cursor": ["n"],
        "key": ["n"],
        "fields": ["n", "at", "odd", "inner", *config.get("columns", ())],
    }
    return None, [first, {**first, "name": f"{config['stream']}_more"}]
