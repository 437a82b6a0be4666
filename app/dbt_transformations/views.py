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
    id: str = Field(description="Id of the transformation.")
    transformation_id: str = Field(description="Id of the transformation.")
    name: str = Field(description="Name of the transformation and of its table.")
    status: TransformationStatus = Field(description="Status of the newest run.")
    gold_table_name: str = Field(description="The table, as `schema.table`.")
    row_count: int | None = Field(
        description="Rows of the table, as last published; null for a view."
    )
    execution_time_seconds: float | None = Field(
        description="Seconds that the newest run took. Null until it ends."
    )
    created_at: datetime = Field(description="Time of creation.")
    updated_at: datetime = Field(description="Time of the last change to the definition.")
    description: str = Field(description="What the table holds.")
    tags: tuple[str, ...] = Field(description="Words to find the transformation by.")
    owner: str = Field(description="The team or person in charge.")
    materialization: Materialization = Field(description="How the result is stored.")
    incremental_strategy: IncrementalStrategy | None = Field(
        description="How an incremental table takes new rows."
    )
    unique_key: tuple[str, ...] = Field(description="Columns that identify a row.")
    error_message: str | None = Field(description="Why the newest run failed, if it did.")
    failure: Failure | None = Field(
        description="Why the newest run failed, with its cause and a hint."
    )
    run_id: str | None = Field(description="Id of the newest run.")
    created_by: str = Field(description="The caller that created it.")
    version: int = Field(description="Increases with every change to the definition.")

    @classmethod
    def _fields_of(cls, item: Transformation) -> dict[str, Any]:
        record, run = item.record, item.run
        output = run.output if run else None
        failure = run.failure if run else None
        return {
            **record.doc.model_dump(exclude={"guarded_sql", "sql_query", "schema_name"}),
            "id": record.id,
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
    sql_query: str = Field(description="The SQL as it was sent, in Trino's dialect.")
    compiled_sql: str | None = Field(
        description="The query in the engine's dialect. On Trino, the statement that would build a "
        "plain table or view with it, even if a run sends other statements. Null while something "
        "that it reads is missing."
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
    items: list[TransformationView] = Field(
        description="The same list as `transformations`: every list has `items`."
    )
    transformations: list[TransformationView] = Field(
        description="The transformations, newest first."
    )
    total_count: int = Field(description="Number of matches on all pages.")
    page: int = Field(description="Number of this page, from 1.")
    page_size: int = Field(description="Maximum number of items on a page.")

    @classmethod
    def of(
        cls, items: Sequence[Transformation], total_count: int, page: int, page_size: int
    ) -> "TransformationPage":
        views = [TransformationView.of(item) for item in items]
        return cls(
            items=views,
            transformations=views,
            total_count=total_count,
            page=page,
            page_size=page_size,
        )


class ColumnView(BaseModel):
    name: str = Field(description="Name of the column.")
    type: str = Field(description="Type of the column.")

    @classmethod
    def of(cls, column: Column) -> "ColumnView":
        return cls(name=column.name, type=column.type)


class ValidationView(BaseModel):
    is_valid: bool = Field(description="Whether the SQL can run.")
    message: str = Field(description="The first error, or a confirmation.")
    suggested_tables: list[str] = Field(
        description="Existing tables with names similar to an unknown one."
    )
    position: dict[str, int] | None = Field(
        description="`line` and `column` of the error, from 1, if known."
    )
    columns: list[ColumnView] | None = Field(
        description="Columns of the result. Null if the SQL cannot run."
    )

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
    table_name: str = Field(description="Name of the table.")
    schema_name: str = Field(description="Schema of the table.")
    catalog_name: str = Field(description="Catalog of the table.")
    row_count: int | None = Field(description="Number of rows, if the metadata has it.")
    size_bytes: int | None = Field(description="Size in bytes, if the metadata has it.")
    last_modified: datetime = Field(description="Time of the last commit.")
    columns: list[ColumnView] = Field(description="Columns of the table.")
    location: str = Field(description="Location of the table's files.")

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
    items: list[SourceTableView] = Field(
        description="The same list as `sources`: every list has `items`."
    )
    sources: list[SourceTableView] = Field(description="The silver tables.")
    total_count: int = Field(description="Number of tables.")

    @classmethod
    def of(cls, tables: Sequence[TableInfo], catalog_name: str) -> "SourceTableList":
        views = [SourceTableView.of(info, catalog_name) for info in tables]
        return cls(items=views, sources=views, total_count=len(views))


class GoldTableView(BaseModel):
    table_name: str = Field(description="Name of the table.")
    transformation_name: str | None = Field(
        description="The transformation that builds it, if any."
    )
    row_count: int | None = Field(description="Number of rows. Null for a view.")
    size_bytes: int | None = Field(description="Size in bytes. Null for a view.")
    created_at: datetime | None = Field(description="Time of creation. Null for a view.")
    last_updated: datetime = Field(description="Time of the last commit.")
    location: str | None = Field(description="Location of the table's files. Null for a view.")
    format: str = Field("iceberg", description="Format of the table.")
    partition_spec: list[str] = Field(description="The fields that the table is partitioned by.")
    materialization: str = Field(description="How the result is stored.")
    tags: tuple[str, ...] = Field(description="Tags of the transformation.")
    columns: list[ColumnView] = Field(description="Columns of the table.")

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
    items: list[GoldTableView] = Field(
        description="The same list as `tables`: every list has `items`."
    )
    tables: list[GoldTableView] = Field(description="The gold tables and views.")
    total_count: int = Field(description="Number of tables and views.")

    @classmethod
    def of(cls, tables: Sequence[GoldTable]) -> "GoldTableList":
        views = [GoldTableView.of(table) for table in tables]
        return cls(items=views, tables=views, total_count=len(views))
