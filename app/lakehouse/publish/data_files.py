"""Writes Parquet data files of an Iceberg table with bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
from pyiceberg.io.fileformat import FileFormatFactory
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import TableProperties
from pyiceberg.table.locations import ObjectStoreLocationProvider, SimpleLocationProvider
from pyiceberg.typedef import Record
from pyiceberg.utils.properties import property_as_bool

from app.lakehouse.publish.columns import cast, with_names_of_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.io import FileIO
    from pyiceberg.table.metadata import TableMetadata

ROW_GROUP_BYTES = 32 * 1024 * 1024
"""Uncompressed Arrow bytes held before they are written as one row group."""
FILE_BYTES = 512 * 1024 * 1024
"""Uncompressed Arrow bytes after which the next data file begins."""


def write_data_files(
    io: FileIO, metadata: TableMetadata, batches: Iterator[pa.RecordBatch], run_id: str
) -> Iterator[DataFile]:
    """Write the batches, whose columns are in the order of the table's schema.

    pyiceberg's own writer submits all of a reader's batches to its threads at once, so it holds
    the whole table in memory. This one holds a row group. File names begin with the run's id, by
    which the files of a dead run are found.
    """
    locations = _locations(metadata)
    groups = _row_groups(batches)
    group = next(groups, None)
    while group is not None:
        writer = _FileWriter(
            io, metadata, locations.new_data_location(f"{run_id}-{uuid4()}.parquet")
        )
        try:
            while group is not None and writer.bytes < FILE_BYTES:
                writer.write(group)
                group = next(groups, None)
        except BaseException:
            writer.abandon()
            raise
        yield writer.finish()


def _locations(metadata: TableMetadata) -> SimpleLocationProvider | ObjectStoreLocationProvider:
    """Return one of pyiceberg's two layouts. Its own loader imports what the table names."""
    hashed = property_as_bool(metadata.properties, TableProperties.OBJECT_STORE_ENABLED, False)
    layout = ObjectStoreLocationProvider if hashed else SimpleLocationProvider
    return layout(metadata.location.rstrip("/"), metadata.properties)


def _row_groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    pending: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if batch.num_rows == 0:
            continue
        pending.append(batch)
        size += batch.nbytes
        if size >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(pending)
            pending, size = [], 0
    if pending:
        yield pa.Table.from_batches(pending)


class _FileWriter:
    def __init__(self, io: FileIO, metadata: TableMetadata, path: str) -> None:
        schema = with_names_of_files(metadata.schema())
        self._io = io
        self._spec_id = metadata.default_spec_id
        self._path = path
        self._output = io.new_output(path)
        self._columns = schema_to_pyarrow(metadata.schema())
        self._schema = schema_to_pyarrow(schema)
        self._writer = FileFormatFactory.get(FileFormat.PARQUET).create_writer(
            self._output, schema, metadata.properties
        )
        self.bytes = 0

    def write(self, rows: pa.Table) -> None:
        columns = cast(rows.rename_columns(self._columns.names), self._columns)
        self.bytes += rows.nbytes
        self._writer.write(_renamed(columns, self._schema))

    def finish(self) -> DataFile:
        statistics = self._writer.close()
        return DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=self._path,
            file_format=FileFormat.PARQUET,
            partition=Record(),
            file_size_in_bytes=len(self._output),
            sort_order_id=None,
            spec_id=self._spec_id,
            equality_ids=None,
            key_metadata=None,
            **statistics.to_serialized_dict(),
        )

    def abandon(self) -> None:
        if self.bytes:
            self._writer.close()
            self._io.delete(self._path)


def _renamed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the same values under the names of the file. A cast would match a struct's fields by
    name, and would set fields to null that have another name in the file."""
    columns = [
        pa.chunked_array([chunk.view(field.type) for chunk in column.chunks], field.type)
        if pa.types.is_nested(field.type)
        else column
        for column, field in zip(rows.columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)
