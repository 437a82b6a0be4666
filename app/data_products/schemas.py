"""Defines the request bodies of `/data-products`."""

from typing import Any, Self

from pydantic import (
    AliasChoices,
    ConfigDict,
    Field,
    model_validator,
)

from app.bodies import Body
from app.data_products.metadata import Metadata
from app.data_products.record import (
    DataProductType,
    UpdateFrequency,
)
from app.texts import Sql, Text, Word, Words

_SQL = AliasChoices("sql_query", "source_query")


class ProductCreate(Body):
    """`source_query` is accepted as an older name of `sql_query`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Punctuality of Carriers",
                    "description": "The share of flights that land at most 15 minutes late",
                    "data_product_type": "OPERATIONAL_METRICS",
                    "owner": "analytics-team",
                    "consumers": ["bi_team", "ml_team"],
                    "update_frequency": "daily",
                    "tags": ["flights", "kpi"],
                    "sql_query": "SELECT carrier, flights, punctual_share FROM gold.carrier_delays",
                }
            ]
        },
    )

    name: Word = Field(
        description="A name for people. The table is `dp_` and the name in snake_case."
    )
    description: Text = Field("", description="What the data product is for.")
    data_product_type: DataProductType = Field(description="Kind of data product.")
    owner: Word = Field(description="The team or person in charge.")
    consumers: Words = Field((), description="Teams and programs that read it.")
    update_frequency: UpdateFrequency = Field(
        UpdateFrequency.DAILY,
        description="How often it should be built. Freshness is measured against it.",
    )
    tags: Words = Field((), description="Words to find the data product by.")
    sql_query: Sql = Field(
        validation_alias=_SQL,
        description="One SELECT, in Trino's dialect. `source_query` is its older name.",
    )
    metadata: Metadata = Field(
        default_factory=dict,
        description="Any JSON without secrets, because records keep everything.",
    )


class ProductUpdate(Body):
    """A field that is absent stays unchanged. Null clears description, consumers, tags and
    metadata. The other fields cannot be null."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"owner": "operations-team", "tags": ["flights"]}]}
    )

    name: Word | None = Field(
        None, description="The new name. After the first build, it must lead to the same table."
    )
    description: Text | None = Field(None, description="What the data product is for.")
    data_product_type: DataProductType | None = Field(None, description="Kind of data product.")
    owner: Word | None = Field(None, description="The team or person in charge.")
    consumers: Words | None = Field(None, description="Teams and programs that read it.")
    update_frequency: UpdateFrequency | None = Field(
        None, description="How often it should be built."
    )
    tags: Words | None = Field(None, description="Words to find the data product by.")
    sql_query: Sql | None = Field(
        default=None,
        validation_alias=_SQL,
        description="One SELECT, in Trino's dialect. The next run builds it.",
    )
    metadata: Metadata | None = Field(None, description="Free JSON without secrets.")

    @model_validator(mode="after")
    def _nothing_needed_is_cleared(self) -> Self:
        needed = ("name", "data_product_type", "owner", "update_frequency", "sql_query")
        cleared = [name for name in needed if name in self.model_fields_set and self._is_null(name)]
        if cleared:
            raise ValueError(f"{', '.join(cleared)}: cannot be null")
        return self

    def _is_null(self, name: str) -> bool:
        return getattr(self, name) is None

    def changes(self) -> dict[str, Any]:
        """Return the fields to set. Null becomes the empty value."""
        fields = ProductCreate.model_fields
        return {
            name: fields[name].get_default(call_default_factory=True) if value is None else value
            for name, value in ((name, getattr(self, name)) for name in self.model_fields_set)
        }
