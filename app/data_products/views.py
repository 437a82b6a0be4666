"""Defines the response bodies of `/data-products`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from app.caller import Caller
from app.data_products.lineage import Lineage, LineageEdge, Node, NodeType
from app.data_products.metadata import masked_metadata
from app.data_products.record import DataProductType, ProductDoc, ProductStatus, UpdateFrequency
from app.data_products.rules import ProductRecord
from app.data_products.service import Product, Stats
from app.runs.model import Run
from app.runs.views import RunView
from app.warehouse.engine import Preview


def _shown_metadata(doc: ProductDoc) -> dict[str, Any]:
    return masked_metadata(doc.metadata)


class _ProductFields(BaseModel):
    id: str
    name: str
    table_name: str
    schema_name: str
    status: ProductStatus
    description: str
    data_product_type: DataProductType
    owner: str
    consumers: tuple[str, ...]
    update_frequency: UpdateFrequency
    tags: tuple[str, ...]
    sql_query: str
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    created_by: str
    last_run_id: str | None
    version: int

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

    run: RunView

    @classmethod
    def of(cls, product: Product, run: Run, caller: Caller) -> Self:
        return cls(**cls._fields_of(product), run=RunView.of(run, caller))


class ProductPage(BaseModel):
    data_products: list[ProductView]
    total_count: int
    page: int
    page_size: int

    @classmethod
    def of(cls, products: Sequence[Product], total_count: int, page: int, page_size: int) -> Self:
        return cls(
            data_products=[ProductView.of(product) for product in products],
            total_count=total_count,
            page=page,
            page_size=page_size,
        )


class NodeView(BaseModel):
    id: str
    type: NodeType
    name: str
    product_id: str | None

    @classmethod
    def of(cls, node: Node) -> Self:
        return cls(id=node.id, type=node.type, name=node.name, product_id=node.product_id)


class EdgeView(BaseModel):
    """`run_id` is the run that moved the data, or null for a declared consumer."""

    from_: str = Field(serialization_alias="from")
    to: str
    run_id: str | None

    @classmethod
    def of(cls, edge: LineageEdge) -> Self:
        return cls(from_=edge.from_, to=edge.to, run_id=edge.run_id)


class LineageView(BaseModel):
    """Shows what the table was built from (upstream) and what is built from it (downstream),
    according to the recorded runs. `columns` is always empty: columns are not traced yet."""

    data_product_id: str
    table: str
    upstream: list[NodeView]
    downstream: list[NodeView]
    nodes: list[NodeView]
    edges: list[EdgeView]
    columns: list[Any]

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

    status: str
    age_seconds: float | None
    limit_seconds: int

    @classmethod
    def of(cls, stats: Stats) -> Self:
        return cls(
            status=stats.freshness,
            age_seconds=stats.age_seconds,
            limit_seconds=stats.product.doc.update_frequency.limit_seconds,
        )


class StatsView(BaseModel):
    """Statistics from Iceberg's metadata only. All are null while there is no table."""

    data_product_id: str
    table: str
    row_count: int | None
    size_bytes: int | None
    file_count: int | None
    last_updated: datetime | None
    snapshot_id: str | None
    freshness: FreshnessView

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


class PreviewView(BaseModel):
    data_product_id: str
    table: str
    columns: list[dict[str, Any]]
    rows: list[list[Any]]

    @classmethod
    def of(cls, record: ProductRecord, preview: Preview) -> Self:
        return cls(
            data_product_id=record.id,
            table=record.doc.table,
            columns=[{"name": column.name, "type": column.type} for column in preview.columns],
            rows=[list(row) for row in preview.rows],
        )
