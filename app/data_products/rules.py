"""Checks a data product by itself and against the others, with pure functions."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.data_products.record import DataProductType, ProductDoc, ProductStatus
from app.errors import Conflict, InvalidRequest, VersionMismatch
from app.lakehouse.records.state import Record, Records
from app.warehouse.definitions import TABLE, DefinedModel
from app.warehouse.engine import ExtraColumn, Materialization, ModelSpec

ProductRecord = Record[ProductDoc]
ADDED_COLUMNS = (
    "data_product_id",
    "data_product_type",
    "data_product_owner",
    "data_product_updated_at",
)


@dataclass(frozen=True)
class ProductFilter:
    owner: str | None = None
    data_product_type: DataProductType | None = None
    tag: str | None = None
    status: ProductStatus | None = None
    search: str | None = None
    """Text to find in the name, the description or a tag, ignoring case."""


def defined_model(record: ProductRecord) -> DefinedModel:
    doc = record.doc
    version = (record.id, record.created_at, record.version)
    spec = partial(model_spec, record, doc.guarded_sql)
    return DefinedModel(doc.table_name, doc.guarded_sql, False, version, spec)


def model_spec(record: ProductRecord, guarded_sql: str) -> ModelSpec:
    doc = record.doc
    return ModelSpec(
        schema_name=doc.schema_name,
        name=doc.table_name,
        sql=guarded_sql,
        materialization=Materialization.TABLE,
        description=doc.description,
        tags=doc.tags,
        owner=doc.owner,
        extra_columns=(
            ExtraColumn(name="data_product_id", value=record.id),
            ExtraColumn(name="data_product_type", value=doc.data_product_type.value),
            ExtraColumn(name="data_product_owner", value=doc.owner),
            ExtraColumn(name="data_product_updated_at", value=None),
        ),
    )


def fingerprint(table: str, work: Mapping[str, Any]) -> str:
    return hashlib.sha256(f"{table}\n{json.dumps(work, sort_keys=True)}".encode()).hexdigest()


def matching(records: Sequence[ProductRecord], criteria: ProductFilter) -> list[ProductRecord]:
    """Return the records that match, whatever their status."""
    found = list(records)
    if criteria.owner is not None:
        found = [record for record in found if record.doc.owner == criteria.owner]
    if criteria.data_product_type is not None:
        kind = criteria.data_product_type
        found = [record for record in found if record.doc.data_product_type is kind]
    if criteria.tag is not None:
        found = [record for record in found if criteria.tag in record.doc.tags]
    if criteria.search is not None:
        text = criteria.search.casefold()
        found = [record for record in found if text in record.derive(_searched)]
    return found


def _searched(record: ProductRecord) -> str:
    doc = record.doc
    return "\n".join((doc.name, doc.description, *doc.tags)).casefold()


def refuse_same_table(doc: ProductDoc, product_id: str, products: Records[ProductDoc]) -> None:
    """`products` have their tables as keys."""
    for other in products.with_key(TABLE, doc.table):
        if other.id != product_id:
            raise Conflict(
                f"{doc.name!r} would use the table {doc.table}, which belongs to the data product "
                f"{other.doc.name!r}.",
                hint="Choose a name that differs in letters or digits.",
                conflicting_id=other.id,
            )


def refuse_added_columns(columns: Iterable[str]) -> None:
    if clashes := sorted({name.lower() for name in columns}.intersection(ADDED_COLUMNS)):
        raise InvalidRequest(
            f"The query has the column(s) {', '.join(clashes)}, which Asgard adds "
            "to the table of every data product.",
            hint="Give them other names with AS.",
            field="sql_query",
        )


def refuse_version(record: ProductRecord, expected: int | None) -> None:
    if expected not in (None, record.version):
        raise VersionMismatch(
            f"The data product is at version {record.version}, not {expected}. Read it again.",
            current_version=record.version,
        )
