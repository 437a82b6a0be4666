"""Defines the response bodies of `/dbt`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.caller import Caller
from app.dbt_transformations.record import TransformationStatus
from app.dbt_transformations.service import Transformation, Validation
from app.dbt_transformations.tables import GoldTable
from app.failure import Failure
from app.lakehouse.catalog import Column, TableInfo
from app.runs.model import Run
from app.runs.views import RunView
from app.warehouse.engine import IncrementalStrategy, Materialization


class _TransformationFields(BaseModel):
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
    def _fields_of(cls, item: Transformation) -> dict[str, Any]:
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


class TransformationView(_TransformationFields):
    @classmethod
    def of(cls, item: Transformation) -> "TransformationView":
        return cls(**cls._fields_of(item))


class TransformationDetail(_TransformationFields):
    sql_query: str
    compiled_sql: str | None = Field(
        description="As the configured engine runs it; null while something it reads is missing."
    )
    runs: list[RunView] = Field(description="At most 20 runs, the newest first.")

    @classmethod
    def of(
        cls, item: Transformation, compiled_sql: str | None, runs: Sequence[Run], caller: Caller
    ) -> "TransformationDetail":
        return cls(
            **cls._fields_of(item),
            sql_query=item.record.doc.sql_query,
            compiled_sql=compiled_sql,
            runs=[RunView.of(run, caller) for run in runs],
        )


class TransformationPage(BaseModel):
    transformations: list[TransformationView]
    total_count: int
    page: int
    page_size: int

    @classmethod
    def of(
        cls, items: Sequence[Transformation], total_count: int, page: int, page_size: int
    ) -> "TransformationPage":
        return cls(
            transformations=[TransformationView.of(item) for item in items],
            total_count=total_count,
            page=page,
            page_size=page_size,
        )


class ColumnView(BaseModel):
    name: str
    type: str

    @classmethod
    def of(cls, column: Column) -> "ColumnView":
        return cls(name=column.name, type=column.type)


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
            columns=columns and [ColumnView.of(column) for column in columns],
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
            columns=[ColumnView.of(column) for column in info.columns],
            location=info.location,
        )


class SourceTableList(BaseModel):
    sources: list[SourceTableView]
    total_count: int

    @classmethod
    def of(cls, tables: Sequence[TableInfo], catalog_name: str) -> "SourceTableList":
        views = [SourceTableView.of(info, catalog_name) for info in tables]
        return cls(sources=views, total_count=len(views))


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
            columns=[ColumnView.of(column) for column in info.columns],
        )


class GoldTableList(BaseModel):
    tables: list[GoldTableView]
    total_count: int

    @classmethod
    def of(cls, tables: Sequence[GoldTable]) -> "GoldTableList":
        views = [GoldTableView.of(table) for table in tables]
        return cls(tables=views, total_count=len(views))
