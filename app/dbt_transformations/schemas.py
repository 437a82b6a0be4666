"""Defines the bodies of `/dbt`."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.bodies import Body
from app.dbt_transformations.record import TransformationStatus
from app.dbt_transformations.service import Transformation, Validation
from app.dbt_transformations.tables import GoldTable
from app.failure import Failure
from app.lakehouse.catalog import TableInfo
from app.runs.schemas import RunView
from app.warehouse.engine import IncrementalStrategy, Materialization

Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_]*$", max_length=100)]
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Words = Annotated[tuple[Word, ...], Field(max_length=100, fail_fast=True)]
Text = Annotated[str, StringConstraints(max_length=10_000)]
Sql = Annotated[str, StringConstraints(min_length=1)]


class TransformationCreate(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "customer_summary",
                    "sql_query": "SELECT customer_id, count(*) AS orders, sum(amount) AS revenue "
                    "FROM silver.orders GROUP BY customer_id",
                    "description": "Orders and revenue of each customer",
                    "materialization": "table",
                    "tags": ["customer"],
                    "owner": "analytics-team",
                }
            ]
        }
    )

    name: Name
    sql_query: Sql = Field(description="One SELECT, in Trino's dialect.")
    description: Text | None = None
    materialization: Materialization = Materialization.TABLE
    tags: Words | None = None
    owner: Word = "dbt"
    incremental_strategy: IncrementalStrategy | None = Field(
        default=None, description="Default: `merge` with a `unique_key`, else `append`."
    )
    unique_key: Annotated[tuple[Word, ...], Field(max_length=20, fail_fast=True)] | None = None

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
    full_refresh: bool = Field(
        default=False, description="Rebuild an incremental model from scratch, as on its first run."
    )


class TransformationView(BaseModel):
    transformation_id: str
    name: str
    status: TransformationStatus
    gold_table_name: str
    row_count: int | None = Field(
        description="Rows of the table, as last published; null for a view."
    )
    execution_time_seconds: float | None
    created_at: datetime
    updated_at: datetime
    description: str
    tags: tuple[str, ...]
    owner: str
    materialization: Materialization
    incremental_strategy: IncrementalStrategy | None
    unique_key: tuple[str, ...]
    error_message: str | None
    failure: Failure | None
    run_id: str | None
    created_by: str
    version: int

    @classmethod
    def fields_of(cls, item: Transformation) -> dict[str, Any]:
        record, run = item.record, item.run
        output = run.output if run else None
        failure = run.failure if run else None
        return {
            **record.doc.model_dump(exclude={"guarded_sql", "sql_query", "schema_name"}),
            "transformation_id": record.id,
            "status": TransformationStatus.of(run),
            "gold_table_name": record.doc.table,
            "row_count": output.rows if output else None,
            "execution_time_seconds": item.seconds,
            "created_at": record.created_at,
            "updated_at": record.updated_at,
            "error_message": failure.message if failure else None,
            "failure": failure,
            "run_id": run.run_id if run else None,
            "created_by": record.created_by,
            "version": record.version,
        }

    @classmethod
    def of(cls, item: Transformation) -> "TransformationView":
        return TransformationView(**cls.fields_of(item))


class TransformationDetail(TransformationView):
    sql_query: str
    compiled_sql: str | None = Field(
        description="As the configured engine runs it; null while something it reads is missing."
    )
    runs: list[RunView] = Field(description="At most 20 runs, the newest first.")


class TransformationPage(BaseModel):
    transformations: list[TransformationView]
    total_count: int
    page: int
    page_size: int


class SqlToValidate(Body):
    sql_query: Sql


class ColumnView(BaseModel):
    name: str
    type: str


class ValidationView(BaseModel):
    is_valid: bool
    message: str
    suggested_tables: list[str]
    position: dict[str, int] | None
    columns: list[ColumnView] | None

    @classmethod
    def of(cls, validation: Validation) -> "ValidationView":
        columns = validation.columns
        return cls(
            is_valid=columns is not None,
            message=validation.message,
            suggested_tables=list(validation.suggested_tables),
            position=validation.position,
            columns=columns and [ColumnView(name=c.name, type=c.type) for c in columns],
        )


class SourceTableView(BaseModel):
    table_name: str
    schema_name: str
    catalog_name: str
    row_count: int | None
    size_bytes: int | None
    last_modified: datetime
    columns: list[ColumnView]
    location: str

    @classmethod
    def of(cls, info: TableInfo, catalog_name: str) -> "SourceTableView":
        schema, _, name = info.table.partition(".")
        return cls(
            table_name=name,
            schema_name=schema,
            catalog_name=catalog_name,
            row_count=info.rows,
            size_bytes=info.bytes,
            last_modified=info.last_updated,
            columns=[ColumnView(name=c.name, type=c.type) for c in info.columns],
            location=info.location,
        )


class SourceTableList(BaseModel):
    sources: list[SourceTableView]
    total_count: int


class GoldTableView(BaseModel):
    table_name: str
    transformation_name: str | None
    row_count: int | None
    size_bytes: int | None
    created_at: datetime | None
    last_updated: datetime
    location: str | None
    format: str = "iceberg"
    partition_spec: list[str]
    materialization: str
    tags: tuple[str, ...]
    columns: list[ColumnView]

    @classmethod
    def of(cls, table: GoldTable) -> "GoldTableView":
        info, doc = table.info, table.doc
        stored = info if isinstance(info, TableInfo) else None
        return cls(
            table_name=info.table.partition(".")[2],
            transformation_name=doc.name if doc else None,
            row_count=stored and stored.rows,
            size_bytes=stored and stored.bytes,
            created_at=stored and stored.created_at,
            last_updated=info.last_updated,
            location=stored and stored.location,
            partition_spec=stored.partition_spec if stored else [],
            materialization=table.materialization,
            tags=doc.tags if doc else (),
            columns=[ColumnView(name=c.name, type=c.type) for c in info.columns],
        )


class GoldTableList(BaseModel):
    tables: list[GoldTableView]
    total_count: int
