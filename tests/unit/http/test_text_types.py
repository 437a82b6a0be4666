"""What a text in a request body may hold is decided by its type, so no field can be forgotten."""

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.bodies import Body
from app.data_products.schemas import ProductCreate, ProductUpdate
from app.dbt_transformations.schemas import TransformationCreate
from app.errors import SqlJinja
from app.main import ROUTERS
from app.texts import Identifier, Name, NoTemplate, Sql, Text, Word

DBT = (ProductCreate, ProductUpdate, TransformationCreate)
"""Their texts go into the generated dbt project."""
SAFE = (NoTemplate, get_args(Sql)[1], get_args(Identifier)[1])
"""Refuses templates; is checked by the guard; has no brace."""


def _bodies(root: type[BaseModel] = Body) -> Iterator[type[BaseModel]]:
    assert ROUTERS  # imports every domain's schemas
    for body in root.__subclasses__():
        yield body
        yield from _bodies(body)


def _texts(annotation: Any, rules: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the rules of each text in a type, from the outermost to the text itself."""
    if annotation is str:
        yield rules
    elif get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        yield from _texts(inner, (*rules, *metadata))
    elif get_origin(annotation) is not dict:
        for part in get_args(annotation):
            yield from _texts(part, rules)


def _rules(field: FieldInfo) -> list[tuple[Any, ...]]:
    return list(_texts(field.annotation, tuple(field.metadata)))


FIELDS = sorted(
    {
        (body.__name__, name): field
        for body in _bodies()
        for name, field in body.model_fields.items()
        if _rules(field)
    }.items()
)


@pytest.mark.parametrize("field", [f for _, f in FIELDS], ids=[".".join(key) for key, _ in FIELDS])
def test_every_text_in_a_body_has_a_type_that_limits_it(field: FieldInfo) -> None:
    for rules in _rules(field):
        assert rules, f"{field}: a bare str accepts anything; choose a type of app/texts.py"


@pytest.mark.parametrize("body", DBT)
def test_every_text_for_the_dbt_project_refuses_templates(body: type[BaseModel]) -> None:
    for name, field in body.model_fields.items():
        for rules in _rules(field):
            assert any(rule in SAFE for rule in rules), name


@pytest.mark.parametrize("type_", [Name, Word, Text])
def test_a_type_of_text_refuses_a_template(type_: Any) -> None:
    class Fresh(BaseModel):
        domain: type_

    with pytest.raises(SqlJinja, match="domain contains") as caught:
        Fresh(domain="{% raw %}")
    assert caught.value.members["field"] == "domain"
