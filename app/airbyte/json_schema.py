"""Finds the schemas that a JSON Schema applies to a value and to its members, in all its branches.

Source: JSON Schema, draft 7 to 2020-12. Whether a value fits a schema does not matter here: a
secret that fits none of them is still a secret.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

_REFERENCES = ("$ref", "$recursiveRef", "$dynamicRef")
_BRANCHES = ("allOf", "anyOf", "oneOf")
_CONDITIONS = ("if", "then", "else", "not")
_DEPENDENCIES = ("dependencies", "dependentSchemas")
_OTHER_PROPERTIES = ("additionalProperties", "unevaluatedProperties")
_FIRST_ITEMS = ("prefixItems", "items")
_OTHER_ITEMS = ("items", "additionalItems", "unevaluatedItems")
_FOLLOWED = frozenset(
    (*_REFERENCES, *_BRANCHES, *_CONDITIONS, *_DEPENDENCIES, *_OTHER_PROPERTIES)
) | {"properties", "patternProperties", "contains", *_FIRST_ITEMS, *_OTHER_ITEMS}
_WITHOUT_EFFECT = frozenset(
    {"definitions", "$defs", "default", "const", "enum", "example", "examples"}
)
"""What these hold are values, or schemas that apply only where a reference names them."""

Schema = Mapping[str, Any]


class UnreadableSchema(Exception):
    """A schema refers to another document, or has a keyword that is not known here."""


def applied_schemas(schemas: Iterable[Any], root: Schema) -> list[Schema]:
    """Return the schemas and all those that they apply to the same value, each once: references may
    form a cycle."""
    applied: dict[int, Schema] = {}
    open_ = list(schemas)
    while open_:
        schema = open_.pop()
        if isinstance(schema, dict) and id(schema) not in applied:
            applied[id(schema)] = schema
            _require_readable(schema)
            open_ += _branches(schema, root)
    return list(applied.values())


def schemas_of_member(schema: Schema, step: str | int) -> Iterator[Any]:
    """Yield the schemas of a field or an item of a value to which the schema applies."""
    if isinstance(step, str):
        yield from _schemas_of_field(schema, step)
    else:
        yield from _schemas_of_item(schema, step)


def _schemas_of_field(schema: Schema, name: str) -> Iterator[Any]:
    properties = _object(schema.get("properties"))
    patterns = _object(schema.get("patternProperties"))
    matching = [inner for pattern, inner in patterns.items() if _matches(pattern, name)]
    if name in properties:
        yield properties[name]
    yield from matching
    if name not in properties and not matching:
        for keyword in _OTHER_PROPERTIES:
            yield schema.get(keyword)


def _schemas_of_item(schema: Schema, position: int) -> Iterator[Any]:
    yield schema.get("contains")
    for keyword in _FIRST_ITEMS:
        first = schema.get(keyword)
        if isinstance(first, list) and position < len(first):
            yield first[position]
            return
    for keyword in _OTHER_ITEMS:
        yield schema.get(keyword)


def _branches(schema: Schema, root: Schema) -> Iterator[Any]:
    for keyword in _REFERENCES:
        if keyword in schema:
            yield _resolved(schema[keyword], root)
    for keyword in _BRANCHES:
        yield from schema.get(keyword) or ()
    for keyword in _CONDITIONS:
        yield schema.get(keyword)
    for keyword in _DEPENDENCIES:
        yield from _object(schema.get(keyword)).values()


def _resolved(reference: Any, root: Schema) -> Any:
    """Return the schema at a JSON Pointer (RFC 6901) in the same document."""
    if not isinstance(reference, str) or not re.fullmatch("#(/.*)?", reference, re.DOTALL):
        raise UnreadableSchema
    found: Any = root
    for step in unquote(reference).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (LookupError, ValueError, TypeError):
            raise UnreadableSchema from None
    return found


def _require_readable(schema: Schema) -> None:
    for keyword, value in schema.items():
        if keyword not in _FOLLOWED | _WITHOUT_EFFECT and _has_marks(value):
            raise UnreadableSchema


def _has_marks(value: Any) -> bool:
    open_ = [value]
    while open_:
        inner = open_.pop()
        if isinstance(inner, dict):
            if "airbyte_secret" in inner or not inner.keys().isdisjoint(_REFERENCES):
                return True
            open_ += inner.values()
        elif isinstance(inner, list):
            open_ += inner
    return False


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return True  # a pattern of another language


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
