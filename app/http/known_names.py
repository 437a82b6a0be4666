"""The names that a route accepts, and suggestions for unknown names."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, get_args, get_origin

from fastapi.dependencies.utils import get_flat_params
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.errors import InvalidBody
from app.http.text import shown
from app.nearest import nearest_name

MOST_NAMED = 10
"""The maximum number of faults that an answer lists. A request may have any number."""


@dataclass(frozen=True)
class Accepted:
    query: tuple[str, ...]
    lists: tuple[str, ...]
    """The parameters of `query` that a request may repeat."""
    headers: tuple[str, ...]
    body: type[BaseModel] | None

    @property
    def fields(self) -> tuple[str, ...]:
        return () if self.body is None else tuple(self.body.model_fields)


@dataclass(frozen=True)
class Unknown:
    """A parameter or field that a route does not have."""

    place: str
    """`query`, `body`, or the field of the body that holds it."""
    name: str
    nearest: str | None = None
    elsewhere: str | None = None
    """What the name means in another part of this route, for example `query parameter`."""
    known: Sequence[str] = field(default=())

    @property
    def path(self) -> str:
        return f"{self.place}.{shown(self.name)}"

    @property
    def what(self) -> str:
        return "parameter" if self.place == "query" else "field"

    def hint(self, alone: bool) -> str:
        name = shown(self.name)
        if self.elsewhere:
            return f'"{name}" is a {self.elsewhere} of this route.'
        if self.nearest:
            meant = f'id you mean "{self.nearest}"?'
            return f"D{meant}" if alone else f'"{name}": d{meant}'
        if not self.known:
            return "This route takes no " + (
                "query parameters." if self.place == "query" else "body."
            )
        return f"The {self.what}s of {self.place} are {', '.join(self.known)}."

    def fault(self) -> dict[str, Any]:
        nearest = {"nearest": self.nearest} if self.nearest else {}
        return {"field": self.path, "problem": f"is not a known {self.what}", **nearest}


def accepted_by(route: APIRoute) -> Accepted:
    params = [(param.alias, param.field_info) for param in get_flat_params(route.dependant)]
    names = {
        kind: tuple(name for name, info in params if getattr(info, "in_", None) is kind)
        for kind in (ParamTypes.query, ParamTypes.header)
    }
    lists = tuple(name for name, info in params if _is_list(info.annotation))
    body = route.body_field
    model = None if body is None else next(_models(body.field_info.annotation), None)
    return Accepted(names[ParamTypes.query], lists, names[ParamTypes.header], model)


def unknown_query(names: Collection[str], accepted: Accepted) -> list[Unknown]:
    return [
        Unknown(
            "query",
            name,
            nearest_name(name, accepted.query),
            _elsewhere(name, accepted, ("body", accepted.fields)),
            accepted.query,
        )
        for name in islice((name for name in names if name not in accepted.query), MOST_NAMED)
    ]


def unknown_field(path: Sequence[str | int], accepted: Accepted) -> Unknown:
    """`path` leads to the field in the body, for example `("streams", 0, "sync_modes")`."""
    *outer, name = path
    model = accepted.body
    for part in outer:
        if model is not None and part in model.model_fields:
            model = next(_models(model.model_fields[str(part)].annotation), None)
    known = () if model is None else tuple(model.model_fields)
    query = ("query parameter", accepted.query)
    return Unknown(
        ".".join(["body", *map(str, outer)]),
        str(name),
        nearest_name(str(name), known),
        None if outer else _elsewhere(str(name), accepted, query),
        known,
    )


def refusal(unknown: Sequence[Unknown], others: Sequence[dict[str, Any]] = ()) -> InvalidBody:
    """Return the error. `others` are further faults, each with `field` and `problem`."""
    faults = [*(item.fault() for item in unknown), *others]
    detail = "; ".join(f"{fault['field']}: {fault['problem']}" for fault in faults[:MOST_NAMED])
    hints = dict.fromkeys(item.hint(alone=len(unknown) == 1) for item in unknown[:3])
    return InvalidBody(
        detail,
        hint=" ".join(hints) or None,
        errors=faults,
        unknown=[item.path for item in unknown] or None,
    )


def _elsewhere(name: str, accepted: Accepted, other: tuple[str, Sequence[str]]) -> str | None:
    what, names = other
    if name in names:
        return "field of the body" if what == "body" else what
    return "header" if name.lower().replace("_", "-") in accepted.headers else None


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(map(_is_list, get_args(annotation)))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation names: `list[StreamBody] | None` has one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
