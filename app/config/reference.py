"""Describes each variable, for the documentation and for messages that name one."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.config.section import Section
from app.config.settings import PARTS, SECTIONS
from app.config.values import Kind

SET_BY_KUBERNETES = frozenset({"KUBERNETES_SERVICE_HOST"})
REQUIRED = frozenset({"auth_mode", "nessie_uri", *(names[0] for names in PARTS.values())})
"""Fields that production requires. NESSIE_URI stands for both catalogs, and the first setting of a
part for its alternatives."""
BOUNDS = ("ge", "gt", "le", "lt")
BOUND_WORDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


@dataclass(frozen=True)
class Variable:
    name: str
    section: str
    description: str
    kind: str
    """Words that follow "Expected"."""
    default: str | None
    """The default as text. None means unset."""
    example: str
    is_secret: bool
    is_required: bool
    """Whether production requires it."""


def variables() -> tuple[Variable, ...]:
    """Return all variables, section by section."""
    return tuple(_all().values())


def variable(field: str) -> Variable:
    """Return the variable of a field of `Settings`."""
    return _all()[field]


@cache
def _all() -> dict[str, Variable]:
    return {
        name: _describe(name, field, section)
        for section in SECTIONS
        for name, field in section.model_fields.items()
    }


def _describe(name: str, field: FieldInfo, section: type[Section]) -> Variable:
    default = _text(field.get_default(call_default_factory=True, validated_data={}))
    example = field.examples[0] if field.examples else default
    return Variable(
        name=name.upper(),
        section=str(section.model_config["title"]),
        description=" ".join((field.description or "").split()),
        kind=_kind(field),
        default=default,
        example=str(example or ""),
        is_secret=any(part is SecretStr for part in _parts(field.annotation)),
        is_required=name in REQUIRED,
    )


def _text(value: Any) -> str | None:
    match value:
        case None:
            return None
        case StrEnum():
            return value.value
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple() | frozenset() | dict():
            return ",".join(str(part) for part in value) or None
        case _:
            return str(value)


def _kind(field: FieldInfo) -> str:
    """Return the kind that a type is annotated with, or the one that follows from it."""
    parts = list(_parts(field.annotation))
    metadata = [*field.metadata, *(part for part in parts if not isinstance(part, type))]
    words = [part.words for part in metadata if isinstance(part, Kind)]
    if any(part in (tuple, frozenset) for part in parts) and dict not in parts:
        one = words[0] if words else _named(parts)
        return f"a list separated by commas, each {one}"
    if any(part is bool for part in parts):
        return "true or false"
    if any(part in (int, float) for part in parts):
        return _number(words, metadata, is_whole=any(part is int for part in parts))
    return words[0] if words else _named(parts) or "text"


def _named(parts: list[Any]) -> str:
    for part in parts:
        if get_origin(part) is Literal:
            return "one of " + ", ".join(get_args(part))
        if isinstance(part, type) and issubclass(part, StrEnum):
            return "one of " + ", ".join(part)
    return ""


def _number(words: list[str], metadata: list[Any], *, is_whole: bool) -> str:
    what = "a whole number" if is_whole else "a number"
    unit = f" of {words[0].removeprefix('whole ')}" if words else ""
    bounds: dict[str, Any] = {}
    for part in metadata:
        for inner in getattr(part, "metadata", [part]):
            bounds |= {b: getattr(inner, b) for b in BOUNDS if getattr(inner, b, None) is not None}
    if {"ge", "le"} <= bounds.keys():
        return f"{what}{unit} from {bounds['ge']:g} to {bounds['le']:.15g}"
    texts = [f"{BOUND_WORDS[name]} {bound:.15g}" for name, bound in bounds.items()]
    return ", ".join([what + unit, *texts])


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and everything in it: types, literals and what `Annotated` adds."""
    yield annotation
    origin = get_origin(annotation)
    if origin is None or origin is Literal:
        return
    yield origin
    if origin in (Annotated, Union, UnionType, tuple, frozenset, dict):
        for part in get_args(annotation):
            yield from _parts(part)
