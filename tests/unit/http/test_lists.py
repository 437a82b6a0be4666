"""Lists are written item by item, as pydantic writes them at once."""

import json

import pytest
from pydantic import BaseModel, Field

from app.airbyte.views import IngestionList, SinkList, SourceList, StreamList
from app.data_products.views import LineageView, ProductPage
from app.dbt_transformations.views import GoldTableList, SourceTableList, TransformationPage
from app.http.lists import listed, written
from app.runs.views import RunList

LISTS = [
    GoldTableList,
    IngestionList,
    LineageView,
    ProductPage,
    RunList,
    SinkList,
    SourceList,
    SourceTableList,
    StreamList,
    TransformationPage,
]


class Item(BaseModel):
    name: str
    none: int | None = None


class Items(BaseModel):
    items: list[Item]
    things: list[Item]
    names: list[str] = Field(serialization_alias="texts")
    total: int
    next: str | None
    one: Item


def items(*names: str) -> Items:
    made = [Item(name=name) for name in names]
    return Items(
        items=made, things=made, names=list(names), total=len(made), next=None, one=Item(name="é")
    )


def test_a_list_is_written_as_pydantic_writes_it():
    for names in ([], ["a"], ["a", 'b"', "ü\n", "a"]):
        body = items(*names)
        assert written(body) == body.model_dump_json(by_alias=True).encode()


async def test_a_response_is_json():
    response = await listed(items, "a", "b")
    assert response.media_type == "application/json"
    assert json.loads(response.body)["texts"] == ["a", "b"]


@pytest.mark.parametrize("model", LISTS, ids=lambda model: model.__name__)
def test_no_list_has_what_is_not_written(model: type[BaseModel]) -> None:
    assert not model.model_computed_fields
    assert not [name for name, field in model.model_fields.items() if field.exclude]
