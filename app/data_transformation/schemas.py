"""The request bodies of `/spark`."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from app.bodies import Body
from app.data_transformation.engine import WriteMode
from app.data_transformation.resources import SparkResources
from app.texts import Sql

DESTINATION = r"^([a-zA-Z_][a-zA-Z0-9_]{0,99}\.)?[a-zA-Z_][a-zA-Z0-9_]{0,99}$"


class TransformRequest(SparkResources, Body):
    """Bronze → silver: `sql` is Spark SQL whose last statement is the SELECT to write."""

    model_config = ConfigDict(
        frozen=True,
        # A misspelt write_mode would overwrite a table.
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "sql": "SELECT * FROM parquet.`flights` WHERE month = 1",
                    "destination_table": "january_flights",
                    "write_mode": "overwrite",
                    "executor_instances": 1,
                    "executor_memory": "512m",
                }
            ]
        },
    )

    sql: Sql = Field(
        description="Statements in Spark SQL: temporary views, then the SELECT to write."
    )
    source_path: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = Field(
        None,
        description="Files in bronze that the SQL reads as `source_data`. A relative path is below "
        "`bronze/`.",
    )
    destination_table: Annotated[str, StringConstraints(pattern=DESTINATION)] | None = Field(
        None, description="The silver table to write. Default: `sql_exec_{run_id}`."
    )
    write_mode: WriteMode = Field(
        WriteMode.OVERWRITE, description="Replace the table, or append to it."
    )
