"""Defines the response bodies of `/data-products`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from app.caller import Caller
from app.data_products.lineage import Lineage, LineageEdge, Node, NodeType
from app.data_products.metadata import masked_metadata
from app.data_products.record import DataProductType, ProductStatus, UpdateFrequency
from app.data_products.rules import ProductRecord
from app.data_products.service import Product, Stats
from app.runs.model import Run
from app.runs.views import RunView
from app.warehouse.engine import Preview


def _shown_metadata(record: ProductRecord) -> dict[str, Any]:
    return masked_metadata(record.doc.metadata)


class _ProductFields(BaseModel):
    id: str = Field(description="Id of the data product.")
    name: str = Field(description="Name of the data product.")
    table_name: str = Field(description="Name of its table.")
    schema_name: str = Field(description="Schema of its table.")
    status: ProductStatus = Field(
        description="`created` before the first run, then the status after the newest run."
    )
    description: str = Field(description="What the data product is for.")
    data_product_type: DataProductType = Field(description="Kind of data product.")
    owner: str = Field(description="The team or person in charge.")
    consumers: tuple[str, ...] = Field(description="Teams and programs that read it.")
    update_frequency: UpdateFrequency = Field(description="How often it should be built.")
    tags: tuple[str, ...] = Field(description="Words to find the data product by.")
    sql_query: str = Field(description="The SQL as it was sent, in Trino's dialect.")
    metadata: dict[str, Any] = Field(description="Free JSON. What looks like a secret is masked.")
    created_at: datetime = Field(description="Time of creation.")
    updated_at: datetime = Field(description="Time of the last change.")
    created_by: str = Field(description="The caller that created it.")
    last_run_id: str | None = Field(description="Id of the newest run. Null before the first one.")
    version: int = Field(description="Increases with every change. The `ETag` header also has it.")

    @classmethod
    def _fields_of(cls, product: Product) -> dict[str, Any]:
        record, last_run = product.record, product.last_run
        return {
            **record.doc.model_dump(exclude={"guarded_sql", "metadata"}),
            "metadata": record.derive(_shown_metadata),
            "id": record.id,
            "status": product.status,
            "created_at": record.created_at,
            "updated_at": record.updated_at,
            "created_by": record.created_by,
            "last_run_id": last_run.run_id if last_run else None,
            "version": record.version,
        }


class ProductView(_ProductFields):
    @classmethod
    def of(cls, product: Product) -> Self:
        return cls(**cls._fields_of(product))


class ProductRunView(_ProductFields):
    """The product, and the run that was started or joined."""

    run: RunView = Field(description="The run that was started or joined.")

    @classmethod
    def of(cls, product: Product, run: Run, caller: Caller) -> Self:
        return cls(**cls._fields_of(product), run=RunView.of(run, caller))


class ProductPage(BaseModel):
    items: list[ProductView] = Field(
        description="The same list as `data_products`: every list has `items`."
    )
    data_products: list[ProductView] = Field(description="The data products, newest first.")
    total_count: int = Field(description="Number of matches on all pages.")
    page: int = Field(description="Number of this page, from 1.")
    page_size: int = Field(description="Maximum number of items on a page.")

    @classmethod
    def of(cls, products: Sequence[Product], total_count: int, page: int, page_size: int) -> Self:
        views = [ProductView.of(product) for product in products]
        return cls(
            items=views,
            data_products=views,
            total_count=total_count,
            page=page,
            page_size=page_size,
        )


class NodeView(BaseModel):
    id: str = Field(description="Id of the node: a table, a bronze path or a consumer.")
    type: NodeType = Field(description="Kind of node.")
    name: str = Field(description="Name to show.")
    product_id: str | None = Field(description="The data product that owns the table, if any.")

    @classmethod
    def of(cls, node: Node) -> Self:
        return cls(id=node.id, type=node.type, name=node.name, product_id=node.product_id)


class EdgeView(BaseModel):
    """`run_id` is the run that moved the data, or null for a declared consumer."""

    from_: str = Field(serialization_alias="from", description="Id of the node that was read.")
    to: str = Field(description="Id of the node that was written.")
    run_id: str | None = Field(
        description="The run that moved the data. Null for a declared consumer."
    )

    @classmethod
    def of(cls, edge: LineageEdge) -> Self:
        return cls(from_=edge.from_, to=edge.to, run_id=edge.run_id)


class LineageView(BaseModel):
    """Shows what the table was built from (upstream) and what is built from it (downstream),
    according to the recorded runs. `columns` is always empty: columns are not traced yet."""

    data_product_id: str = Field(description="Id of the data product.")
    table: str = Field(description="The data product's table, as `schema.table`.")
    upstream: list[NodeView] = Field(description="What the table was built from, at any distance.")
    downstream: list[NodeView] = Field(description="What is built from the table, at any distance.")
    nodes: list[NodeView] = Field(description="All nodes, including the table itself.")
    edges: list[EdgeView] = Field(description="All edges.")
    columns: list[Any] = Field(description="Always empty: columns are not traced yet.")

    @classmethod
    def of(cls, record: ProductRecord, lineage: Lineage) -> Self:
        return cls(
            data_product_id=record.id,
            table=record.doc.table,
            upstream=[NodeView.of(node) for node in lineage.upstream],
            downstream=[NodeView.of(node) for node in lineage.downstream],
            nodes=[NodeView.of(node) for node in lineage.nodes],
            edges=[EdgeView.of(edge) for edge in lineage.edges],
            columns=[],
        )


class FreshnessView(BaseModel):
    """`stale`: older than the update frequency allows. `never_built`: no table exists yet.
    `missing`: the table was dropped."""

    status: str = Field(description="`fresh`, `stale`, `never_built` or `missing`.")
    age_seconds: float | None = Field(
        description="Seconds since the last build. Null without a table."
    )
    limit_seconds: int = Field(description="The age that the update frequency allows, in seconds.")

    @classmethod
    def of(cls, stats: Stats) -> Self:
        return cls(
            status=stats.freshness,
            age_seconds=stats.age_seconds,
            limit_seconds=stats.product.doc.update_frequency.limit_seconds,
        )


class StatsView(BaseModel):
    """Statistics from Iceberg's metadata only. All are null until the table exists."""

    data_product_id: str = Field(description="Id of the data product.")
    table: str = Field(description="The data product's table, as `schema.table`.")
    row_count: int | None = Field(description="Number of rows.")
    size_bytes: int | None = Field(description="Size in bytes.")
    file_count: int | None = Field(description="Number of data files.")
    last_updated: datetime | None = Field(description="Time of the last commit.")
    snapshot_id: str | None = Field(description="Iceberg's id of the current snapshot.")
    freshness: FreshnessView = Field(
        description="The age of the table, compared with what the update frequency allows."
    )

    @classmethod
    def of(cls, stats: Stats) -> Self:
        table = stats.table
        return cls(
            data_product_id=stats.product.id,
            table=stats.product.doc.table,
            row_count=table.rows if table else None,
            size_bytes=table.bytes if table else None,
            file_count=table.files if table else None,
            last_updated=table.last_updated if table else None,
            snapshot_id=table.snapshot_id if table else None,
            freshness=FreshnessView.of(stats),
        )


class PreviewColumn(BaseModel):
    name: str = Field(description="Name of the column.")
    type: str = Field(description="Type of the column.")


class PreviewView(BaseModel):
    data_product_id: str = Field(description="Id of the data product.")
    table: str = Field(description="The data product's table, as `schema.table`.")
    columns: list[PreviewColumn] = Field(description="Columns of the table.")
    rows: list[list[Any]] = Field(description="Rows of the table, each with a value per column.")

    @classmethod
    def of(cls, record: ProductRecord, preview: Preview) -> Self:
        return cls(
            data_product_id=record.id,
            table=record.doc.table,
            columns=[
                PreviewColumn(name=column.name, type=column.type) for column in preview.columns
            ],
            rows=[list(row) for row in preview.rows],
        )
