"""How a table of the lake changes: one Iceberg commit that readers see whole or not at all.

Sync, for workers and threads; importing it is cheap. The snapshot's summary carries the run's id,
and so do the names of the files, so that after a crash it can be told what a run did and what it
left behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """Schema and rows become those of `reader`, in one commit; the table is made if it is missing.

    With `base`, only a table that still stands there is replaced. Raises `target_changed`
    when another commit came first.
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
    """Adds the rows of `reader`; columns that it lacks become null.

    Columns that the table lacks are refused and named, or with `add_columns` added (null in the
    old rows). The table is made if it is missing.
    """
    from app.lakehouse.publish import commit

    return commit.append(catalog, table, reader, run_id, properties or {}, add_columns)


def find_published(catalog: RestCatalog, table: str, run_id: str) -> RunOutput | None:
    """What the run published into the table, if its snapshot is in the history."""
    from app.lakehouse.publish import commit

    return commit.find(catalog, table, run_id)


def sweep(catalog: RestCatalog, table: str, run_id: str) -> None:
    """Deletes what a run that died left in the table's folders and no snapshot refers to."""
    from app.lakehouse.publish import commit

    commit.sweep(catalog, table, run_id)
