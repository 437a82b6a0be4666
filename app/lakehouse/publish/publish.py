"""Publishes a table of the lake in one atomic Iceberg commit.

Synchronous, for workers and threads, and cheap to import. The snapshot's summary and the file names
contain the run's id, so that after a crash it is clear what a run did and what it left behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pyarrow as pa
    from pyiceberg.catalog.rest import RestCatalog

    from app.lakehouse.outputs import RunOutput
    from app.lakehouse.publish.published import ExpectedSnapshot


def replace_table(
    catalog: RestCatalog,
    table: str,
    reader: pa.RecordBatchReader,
    *,
    run_id: str,
    properties: Mapping[str, str] | None = None,
    base: ExpectedSnapshot | None = None,
) -> RunOutput:
    """Replace the schema and rows with those of `reader` in one commit. Create a missing table.

    With `base`, replace the table only in that state. Raises `target_changed` when another commit
    came first.
    """
    from app.lakehouse.publish import commit

    return commit.replace(catalog, table, reader, run_id, properties or {}, base)


def append_table(
    catalog: RestCatalog,
    table: str,
    reader: pa.RecordBatchReader,
    *,
    run_id: str,
    properties: Mapping[str, str] | None = None,
    add_columns: bool = False,
) -> RunOutput:
    """Append the rows of `reader`. Columns that it lacks become null. Create a missing table.

    Columns that the table lacks are refused and named, or with `add_columns` added (null in the
    old rows).
    """
    from app.lakehouse.publish import commit

    return commit.append(catalog, table, reader, run_id, properties or {}, add_columns)


def find_published(catalog: RestCatalog, table: str, run_id: str) -> RunOutput | None:
    """Return what the run published into the table, if its snapshot is in the history."""
    from app.lakehouse.publish import commit

    return commit.find(catalog, table, run_id)


def sweep(catalog: RestCatalog, table: str, run_ids: Collection[str]) -> None:
    """Delete the files that dead runs left in the table's folders and no snapshot refers to. If a
    commit of such a run succeeds after this, the table is unreadable. `Leftovers` prevents that."""
    from app.lakehouse.publish import commit

    commit.sweep(catalog, table, run_ids)
