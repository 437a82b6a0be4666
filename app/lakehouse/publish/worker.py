"""`python -m app.lakehouse.publish.worker`: commits the rows that a worker computed to a table.

This process has the identity that may write tables. It reads neither SQL nor templates: rows reach
it as an Arrow file in the worker's folder.
"""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.lakehouse.connection import Lake
from app.lakehouse.publish.errors import lake_errors
from app.lakehouse.publish.publish import append_table, replace_table
from app.lakehouse.publish.published import ExpectedSnapshot
from app.lakehouse.publish.result_file import open_result
from app.processes.worker_main import Emit, Handlers, serve
from app.processes.worker_spans import span

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import RestCatalog


def _publish(lake: Lake, catalog: RestCatalog, message: dict[str, Any], _: Emit) -> dict[str, Any]:
    """Handle `{run_id, table, folder, add_columns, base}`. The rows replace those of the table, but
    only in the state `base` (`{snapshot_id}`). Without it, they are appended."""
    table, run_id = message["table"], message["run_id"]
    with open_result(Path(message["folder"])) as reader, lake_errors(), span("commit"):
        if message["base"] is None:
            add_columns = message["add_columns"]
            published = append_table(catalog, table, reader, run_id=run_id, add_columns=add_columns)
        else:
            base = ExpectedSnapshot(**message["base"])
            published = replace_table(catalog, table, reader, run_id=run_id, base=base)
    published = published.model_copy(update={"catalog_ref": lake.catalog.ref})
    return published.model_dump(mode="json")


def open_worker(handshake: dict[str, Any]) -> Handlers:
    lake = Lake.from_json(handshake["lake"])
    importlib.import_module("app.lakehouse.publish.commit")
    return {"publish": partial(_publish, lake, lake.open_catalog())}


if __name__ == "__main__":
    serve(open_worker)
