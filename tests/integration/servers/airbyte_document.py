"""Checks requests and responses against Airbyte's own API documents.

The documents belong to Airbyte, so they are not part of this repository. CONTRIBUTING.md says where
they come from and where they are expected.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import jsonschema_rs
import yaml

from tests.integration.servers.cache import cache_dir

ROOT = "urn:airbyte-api"
SHAPES = "#/components/schemas/"
FAILED = 400
BEFORE_THE_API = {"unauthorized", "not-found"}
"""The problems that Airbyte's web server returns by itself."""
DEVIATIONS = {
    r"/syncModes: null": "Airbyte's server names no modes if it is asked without a destination",
    r"configuration: null": "Airbyte's server forgets the configuration of what is deleted",
    r'"incremental_of_tomorrow"': "a mode that the tests make up",
}
"""Responses that differ from the document, and why the stand-in gives them."""
CONFIGURED = {"/sources": "source", "/destinations": "destination"}


class AirbyteDocument:
    """The operations of `api_sdk.yaml`, and the constant texts of `api-problems.yaml`."""

    def __init__(self, api: dict[str, Any], problems: dict[str, Any]) -> None:
        self._schemas: dict[str, Any] = api["components"]["schemas"]
        shapes = (f"{kind.title()}Configuration" for kind in CONFIGURED.values())
        self._lax = {**self._schemas, **{shape: {"type": "object"} for shape in shapes}}
        self._paths = [(_pattern(path), path, item) for path, item in api["paths"].items()]
        self._judges: dict[tuple[str, bool], jsonschema_rs.Draft202012Validator] = {}
        self.details = dict(_details(problems["components"]["schemas"]))
        """The `detail` of each problem, by its title."""
        self._types = {
            kind: self._types_of(f"{kind.title()}Configuration") for kind in CONFIGURED.values()
        }

    def judge(
        self, method: str, path: str, query: str, body: Any, status: int, answer: Any
    ) -> list[str]:
        """Return what is wrong with a request and its response.

        A request that the server refuses may break the document: a caller's mistake reaches Airbyte
        as the caller made it.
        """
        line = f"{method} {path}"
        template, item = self._operation(path)
        operation = (item or {}).get(method.lower())
        if operation is None:
            return [f"{line}: the document has no such operation"]
        if status >= FAILED:
            return list(self._problem(line, status, answer))
        return [
            *self._query(line, operation, query),
            *self._body(line, template, operation, body),
            *self._answer(line, operation, status, answer),
        ]

    def _operation(self, path: str) -> tuple[str, dict[str, Any] | None]:
        for pattern, template, item in self._paths:
            if pattern.fullmatch(path):
                return template, item
        return path, None

    def _query(self, line: str, operation: dict[str, Any], query: str) -> Iterator[str]:
        parameters = {each["name"]: each for each in operation.get("parameters", [])}
        for name, values in parse_qs(query).items():
            if name not in parameters:
                yield f"{line}: the document has no parameter {name}"
                continue
            schema = parameters[name].get("schema", {})
            many = schema.get("type") == "array"
            value = values if many else _scalar(values[0], schema.get("type"))
            yield from self._wrong(f"{line}?{name}", schema, value, self._schemas)
        for name in (name for name, each in parameters.items() if each.get("required")):
            if name not in parse_qs(query):
                yield f"{line}: the parameter {name} is missing"

    def _body(
        self, line: str, template: str, operation: dict[str, Any], body: Any
    ) -> Iterator[str]:
        content = operation.get("requestBody", {}).get("content", {})
        if not content:
            if body is not None:
                yield f"{line}: the document has no body"
            return
        schema = content["application/json"]["schema"]
        yield from self._wrong(line, schema, body, self._schemas_for(template, body))
        yield from self._unknown(line, schema, body)

    def _schemas_for(self, template: str, body: Any) -> dict[str, Any]:
        """Configurations of connectors that the document leaves out are not judged: those of the
        tests, and Kafka's."""
        kind = CONFIGURED.get(template)
        if kind is None or body["configuration"].get(f"{kind}Type") in self._types[kind]:
            return self._schemas
        return self._lax

    def _answer(
        self, line: str, operation: dict[str, Any], status: int, answer: Any
    ) -> Iterator[str]:
        declared = operation["responses"]
        response = declared.get(str(status)) or declared.get(f"{status // 100}XX")
        if response is None:
            yield f"{line}: the document has no answer {status}"
            return
        content = response.get("content", {}).get("application/json", {})
        if "schema" in content:
            # Airbyte's server takes the type out of a configuration that it shows, and the document
            # tells configurations apart by it.
            yield from self._wrong(f"{line} → {status}", content["schema"], answer, self._lax)

    def _problem(self, line: str, status: int, answer: Any) -> Iterator[str]:
        title = answer["title"]
        if title in BEFORE_THE_API:
            return
        if title not in self.details:
            yield f"{line} → {status}: there is no problem {title}"
        elif answer["detail"] != self.details[title]:
            yield f"{line} → {status}: {title} says {answer['detail']!r}"

    def _wrong(
        self, where: str, schema: dict[str, Any], value: Any, schemas: dict[str, Any]
    ) -> Iterator[str]:
        for error in self._judge(schema, schemas).iter_errors(value):
            at = "/".join(map(str, error.instance_path))
            yield f"{where}: {at or 'the whole'}: {error.message[:300]}"

    def _judge(
        self, schema: dict[str, Any], schemas: dict[str, Any]
    ) -> jsonschema_rs.Draft202012Validator:
        key = (json.dumps(schema), schemas is self._lax)
        if key not in self._judges:
            whole = {"$id": ROOT, "components": {"schemas": schemas}, "allOf": [schema]}
            self._judges[key] = jsonschema_rs.Draft202012Validator(whole)
        return self._judges[key]

    def _unknown(self, where: str, schema: dict[str, Any], value: Any) -> Iterator[str]:
        """Yield names that the document does not have, since its schemas allow others."""
        shape = self._resolved(schema)
        if isinstance(value, list):
            for each in value:
                yield from self._unknown(f"{where}[]", shape.get("items", {}), each)
        if not isinstance(value, dict) or "properties" not in shape:
            return
        for name, inner in value.items():
            if name not in shape["properties"]:
                yield f"{where}: the document has no property {name}"
            else:
                yield from self._unknown(f"{where}.{name}", shape["properties"][name], inner)

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        resolved = schema
        while "$ref" in resolved:
            resolved = self._schemas[resolved["$ref"].removeprefix(SHAPES)]
        return resolved

    def _types_of(self, name: str) -> set[str]:
        """Return the connectors whose configurations the document describes."""
        kind = f"{name.removesuffix('Configuration').lower()}Type"
        shapes = (self._resolved(each) for each in self._schemas[name]["oneOf"])
        types = (shape.get("properties", {}).get(kind, {}).get("const") for shape in shapes)
        return {const for const in types if const}


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{\w+\}", "[^/]+", path))


def _scalar(text: str, kind: str | None) -> Any:
    match kind:
        case "integer":
            return int(text)
        case "boolean":
            return {"true": True, "false": False}.get(text, text)
        case _:
            return text


def _details(schemas: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for schema in schemas.values():
        for part in schema.get("allOf", []):
            properties = part.get("properties", {})
            if "title" in properties and "detail" in properties:
                yield properties["title"]["default"], properties["detail"]["default"]


@dataclass
class Traffic:
    """The requests and responses of one server, checked at the end since a check takes a while."""

    exchanges: list[tuple[str, str, str, str, int, str]] = field(default_factory=list)

    def note(self, method: str, path: str, query: str, body: Any, status: int, answer: Any) -> None:
        exchange = (method, path, query, json.dumps(body), status, json.dumps(answer))
        self.exchanges.append(exchange)

    def violations(self) -> list[str]:
        """Return each violation once, or none without the documents. Forgets what was checked."""
        noted, self.exchanges = self.exchanges, []
        document = airbyte_document()
        if document is None:
            return []
        violations: dict[str, None] = {}
        for method, path, query, body, status, answer in noted:
            wrong = document.judge(
                method, path, query, json.loads(body), status, json.loads(answer)
            )
            violations |= dict.fromkeys(wrong)
        return [
            each
            for each in violations
            if not any(re.search(pattern, each) for pattern in DEVIATIONS)
        ]


@cache
def airbyte_document() -> AirbyteDocument | None:
    """Return the document, or None if the documents are not in the cache."""
    folder = cache_dir() / "airbyte-api"
    files = [folder / "api_sdk.yaml", folder / "api-problems.yaml"]
    if not all(file.exists() for file in files):
        return None
    api, problems = (yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader) for file in files)
    return AirbyteDocument(api, problems)
