"""kubeconform's schemas, made from what a live API server says of itself: no internet is needed."""

import json
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
LOCATION = "{{ .ResourceKind }}_{{ .Group }}_{{ .ResourceAPIVersion }}.json"


def write_schemas(openapi: Schema, folder: Path) -> str:
    """One file a kind; returns kubeconform's `-schema-location`."""
    definitions = {name: _strict(value) for name, value in openapi["definitions"].items()}
    (folder / "definitions.json").write_text(json.dumps({"definitions": definitions}))
    for name, definition in openapi["definitions"].items():
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            # kubeconform calls the group of `v1` so, too.
            group = kind["group"] or kind["version"]
            file = f"{kind['kind'].lower()}_{group}_{kind['version']}.json"
            reference = {"$ref": f"file://{folder}/definitions.json#/definitions/{name}"}
            (folder / file).write_text(json.dumps(reference))
    return f"{folder}/{LOCATION}"


def _strict(node: Any) -> Any:
    """With unknown fields refused, and the two that JSON Schema has no word for spelled out."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "int-or-string" or node.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    made = {
        name: {key: _strict(child) for key, child in value.items()}
        if name == "properties"
        else _strict(value)
        for name, value in node.items()
        if name not in ("format", "x-kubernetes-group-version-kind")
    }
    open_ended = node.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in made and not open_ended:
        made.setdefault("additionalProperties", False)
    return made
