"""Defines the bodies of `/data-products`."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from app.bodies import Body
from app.data_products.lineage import Lineage, Node, NodeType
from app.data_products.metadata import Metadata, masked_metadata
from app.data_products.naming import MAX_NAME
from app.data_products.record import (
    DataProductType,
    ProductDoc,
    ProductStatus,
    UpdateFrequency,
)
from app.lakehouse.records.table import Record
from app.runs.schemas import RunView

Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME)]
Words = Annotated[tuple[Word, ...], Field(max_length=100, fail_fast=True)]
Text = Annotated[str, StringConstraints(max_length=10_000)]
Sql = Annotated[str, StringConstraints(min_length=1)]

_SQL = AliasChoices("sql_query", "source_query")


class ProductCreate(Body):
    """`source_query` is accepted as an older name of `sql_query`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Customer 360 Analytics",
                    "description": "Comprehensive customer metrics and insights",
                    "data_product_type": "CUSTOMER_360",
                    "owner": "analytics-team",
                    "consumers": ["bi_team", "ml_team"],
                    "update_frequency": "daily",
                    "tags": ["customer", "analytics", "kpi"],
                    "sql_query": "SELECT customer_id, SUM(revenue) AS lifetime_value "
                    "FROM silver.transactions GROUP BY customer_id",
                }
            ]
        },
    )

    name: Word
    description: Text = ""
    data_product_type: DataProductType
    owner: Word
    consumers: Words = ()
    update_frequency: UpdateFrequency = UpdateFrequency.DAILY
    tags: Words = ()
    sql_query: Sql = Field(validation_alias=_SQL)
    metadata: Metadata = Field(
        default_factory=dict, description="Free JSON without secrets: records keep everything."
    )


class ProductUpdate(Body):
    """A field that is absent stays unchanged. Null clears description, consumers, tags and
    metadata. The other fields cannot be null."""

    name: Word | None = None
    description: Text | None = None
    data_product_type: DataProductType | None = None
    owner: Word | None = None
    consumers: Words | None = None
    update_frequency: UpdateFrequency | None = None
    tags: Words | None = None
    sql_query: Sql | None = Field(default=None, validation_alias=_SQL)
    metadata: Metadata | None = None

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
        empty: dict[str, Any] = {"description": "", "consumers": (), "tags": (), "metadata": {}}
        submitted = {name: getattr(self, name) for name in self.model_fields_set}
        return {name: empty[name] if value is None else value for name, value in submitted.items()}


def _shown_metadata(doc: ProductDoc) -> dict[str, Any]:
    return masked_metadata(doc.metadata)


class ProductView(BaseModel):
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
    def fields_of(
        cls, record: Record[ProductDoc], status: ProductStatus, last_run_id: str | None
    ) -> dict[str, Any]:
        return {
            **record.doc.model_dump(exclude={"guarded_sql", "metadata"}),
            "metadata": record.derive(_shown_metadata),
            "id": record.id,
            "status": status,
            "created_at": record.created_at,
            "updated_at": record.updated_at,
            "created_by": record.created_by,
            "last_run_id": last_run_id,
            "version": record.version,
        }


class ProductRunView(ProductView):
    """The product, and the run that was started or joined."""

    run: RunView


class ProductPage(BaseModel):
    data_products: list[ProductView]
    total_count: int
    page: int
    page_size: int


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
    def of(cls, product_id: str, table: str, lineage: Lineage) -> Self:
        return cls(
            data_product_id=product_id,
            table=table,
            upstream=[NodeView.of(node) for node in lineage.upstream],
            downstream=[NodeView.of(node) for node in lineage.downstream],
            nodes=[NodeView.of(node) for node in lineage.nodes],
            edges=[
                EdgeView(from_=edge.from_, to=edge.to, run_id=edge.run_id) for edge in lineage.edges
            ],
            columns=[],
        )


class FreshnessView(BaseModel):
    """`stale`: older than the update frequency allows. `never_built`: no table exists yet.
    `missing`: the table was dropped."""

    status: str
    age_seconds: float | None
    limit_seconds: int


class StatsView(BaseModel):
    """Statistics from Iceberg metadata alone, all null while there is no table."""

    data_product_id: str
    table: str
    row_count: int | None
    size_bytes: int | None
    file_count: int | None
    last_updated: datetime | None
    snapshot_id: str | None
    freshness: FreshnessView


class PreviewView(BaseModel):
    data_product_id: str
    table: str
    columns: list[dict[str, Any]]
    rows: list[list[Any]]
