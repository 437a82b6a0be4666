"""Rows of the registry, written without a gateway, and appends by nothing but pyiceberg."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from app.config import Settings
from app.data_products.record import DataProductType, ProductDoc, UpdateFrequency
from app.lakehouse.embedded.lakehouse import embedded_lakehouse
from app.lakehouse.records.log import CommitResult, RecordLog, Row, new_commit_id

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import RestCatalog

SQL = "SELECT 1 AS id, 'a' AS name"
ROWS_PER_FILE = 5_000
OWNERS = 50
FIRST = datetime(2025, 1, 1, tzinfo=UTC)


async def write_products(home: Path, number: int) -> None:
    """Write the rows of so many data products, as a gateway would have, only more at a time."""
    async with embedded_lakehouse(_settings(home)) as lakehouse:
        log = RecordLog("asgard", "data_products")

        def write(catalog: "RestCatalog") -> None:
            for start in range(0, number, ROWS_PER_FILE):
                log.accept(log.refresh(catalog))
                rows = [_product(n) for n in range(start, min(number, start + ROWS_PER_FILE))]
                if log.append(rows, new_commit_id()) is not CommitResult.DONE:
                    raise RuntimeError("the rows were not committed")

        await lakehouse.catalog.run(write)


async def bare_appends(home: Path, number: int) -> list[float]:
    """Return the seconds of each append of one row of a product, by a fresh client."""
    async with embedded_lakehouse(_settings(home)) as lakehouse:
        return await lakehouse.catalog.run(lambda catalog: _append(catalog, number))


def _append(catalog: "RestCatalog", number: int) -> list[float]:
    import pyarrow as pa

    row = pa.table({"id": ["1"], "doc": [_product(1).doc]})
    catalog.create_namespace_if_not_exists("bench")
    table = catalog.create_table(("bench", "appends"), row.schema)
    seconds = []
    for _ in range(number):
        started = time.perf_counter()
        table.append(row)
        seconds.append(time.perf_counter() - started)
    return seconds


def _product(number: int) -> Row:
    at = FIRST + timedelta(seconds=number)
    doc = ProductDoc(
        name=f"Product {number}",
        table_name=f"dp_product_{number}",
        schema_name="gold",
        description="One of many, with a description of an ordinary length.",
        data_product_type=DataProductType.CUSTOM,
        owner=f"owner {number % OWNERS}",
        consumers=("dashboards",),
        update_frequency=UpdateFrequency.DAILY,
        tags=("bench", f"tag {number % 10}"),
        sql_query=SQL,
        guarded_sql=SQL,
        metadata={},
    )
    return Row(
        id=str(uuid5(NAMESPACE_URL, doc.name)),
        version=1,
        op="put",
        created_at=at,
        created_by="bench",
        updated_at=at,
        updated_by="bench",
        commit_id="",
        schema_version=1,
        doc=doc.model_dump_json(),
    )


def _settings(home: Path) -> Settings:
    return Settings(_env_file=None, asgard_home=home)
