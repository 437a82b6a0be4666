"""Defines the request bodies of `/dbt`."""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from app.bodies import Body
from app.texts import Identifier, Sql, Text, Word, Words
from app.warehouse.engine import IncrementalStrategy, Materialization


class TransformationCreate(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "departures_by_airport",
                    "sql_query": "SELECT origin, count(*) AS departures, avg(dep_delay) AS delay "
                    "FROM silver.flights GROUP BY origin",
                    "description": "Departures and their average delay, by airport",
                    "materialization": "table",
                    "tags": ["airports"],
                    "owner": "analytics-team",
                }
            ]
        }
    )

    name: Identifier = Field(description="Name of the transformation and of its gold table.")
    sql_query: Sql = Field(description="One SELECT, in Trino's dialect.")
    description: Text | None = Field(None, description="What the table holds.")
    materialization: Materialization = Field(
        Materialization.TABLE, description="How the result is stored."
    )
    tags: Words | None = Field(None, description="Words to find the transformation by.")
    owner: Word = Field("dbt", description="The team or person in charge.")
    incremental_strategy: IncrementalStrategy | None = Field(
        default=None, description="Default: `merge` with a `unique_key`, otherwise `append`."
    )
    unique_key: Annotated[tuple[Word, ...], Field(max_length=20, fail_fast=True)] | None = Field(
        None, description="Columns that identify a row. `merge` and `delete_insert` need them."
    )

    @model_validator(mode="after")
    def _strategy_fits(self) -> Self:
        strategy = self.incremental_strategy
        if strategy and self.materialization is not Materialization.INCREMENTAL:
            raise ValueError("incremental_strategy requires materialization: incremental")
        if strategy and strategy.needs_key and not self.unique_key:
            raise ValueError(f"incremental_strategy {strategy.value} needs a unique_key")
        return self

    def fields(self) -> dict[str, Any]:
        return {
            **self.model_dump(),
            "description": self.description or "",
            "tags": self.tags or (),
            "unique_key": self.unique_key or (),
        }


class RunRequestBody(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"full_refresh": True}]})

    full_refresh: bool = Field(
        default=False, description="Rebuild an incremental model from scratch, as on its first run."
    )


class SqlToValidate(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "sql_query": "SELECT carrier, max(arr_delay) AS worst FROM silver.flights "
                    "GROUP BY carrier"
                }
            ]
        }
    )

    sql_query: Sql = Field(description="One SELECT, in Trino's dialect.")
