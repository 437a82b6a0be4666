"""`python -m app.warehouse.publisher`: makes the rows that a builder computed a table's contents.

This process has the identity that may write tables. It reads neither SQL nor templates: rows reach
it as an Arrow file in the builder's folder.
"""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import EngineFailed
from app.lakehouse.connection import Lake
from app.processes.handover import open_handed_over
from app.warehouse.duckdb_session import our_errors
from app.warehouse.publish import Base, append_table, replace_table
from app.worker_loop import Emit, Handlers, serve
from app.worker_spans import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from pyiceberg.catalog.rest import RestCatalog

RESULT = "result.arrow"


def _publish(lake: Lake, catalog: RestCatalog, message: dict[str, Any], _: Emit) -> dict[str, Any]:
    """`{run_id, table, folder, append, base}`: `append` adds the rows; otherwise they replace the
    table's rows. With `base` (`{snapshot_id}`), the table is replaced only in that state."""
    table, run_id = message["table"], message["run_id"]
    with open_handed_over(Path(message["folder"]), RESULT) as file:
        reader = _reader(file)
        with our_errors(), span("commit"):
            if message["append"]:
                published = append_table(catalog, table, reader, run_id=run_id, add_columns=True)
            else:
                base = Base(**message["base"]) if message["base"] else None
                published = replace_table(catalog, table, reader, run_id=run_id, base=base)
    published = published.model_copy(update={"catalog_ref": lake.catalog.ref})
    return published.model_dump(mode="json")


def _reader(file: Any) -> pa.RecordBatchReader:
    """An Arrow file ends with a footer, so a truncated file cannot be taken for a complete one."""
    import pyarrow as pa

    try:
        opened = pa.ipc.open_file(file)
    except pa.ArrowInvalid as error:
        raise EngineFailed(f"The builder's result cannot be read: {error}") from error

    def batches() -> Iterator[pa.RecordBatch]:
        for index in range(opened.num_record_batches):
            batch = opened.get_batch(index)
            try:
                # Arrow takes lengths and offsets as they stand in the file: without this, a hostile
                # builder's would reach into this process's memory, and publish it.
                batch.validate(full=True)
            except pa.ArrowInvalid as error:
                raise EngineFailed(f"The builder's result is not valid: {error}") from error
            yield batch

    return pa.RecordBatchReader.from_batches(opened.schema, batches())


def open_worker(hello: dict[str, Any]) -> Handlers:
    lake = Lake.from_json(hello["lake"])
    importlib.import_module("app.warehouse.commit")
    return {"publish": partial(_publish, lake, lake.open_catalog())}


if __name__ == "__main__":
    serve(open_worker)
