"""Writes the records of one stream as bronze Parquet files. Runs in the worker process."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.airbyte.local.bronze_types import (
    RESERVED,
    BronzeColumn,
    BronzeType,
    DoesNotFit,
    WrittenFile,
    fit,
    shown,
)

FIRST_BATCH_ROWS = 1_000
BATCH_ROWS = 20_000
BATCH_BYTES = 32 * 1024 * 1024
"""The size of records in memory, estimated from the last batch. Some have 100 KB each."""
FILE_BYTES = 256 * 1024 * 1024
RAW_SHOWN = 1024 * 1024

_ARROW = {
    BronzeType.STRING: pa.string(),
    BronzeType.INTEGER: pa.int64(),
    BronzeType.NUMBER: pa.float64(),
    BronzeType.BOOLEAN: pa.bool_(),
    BronzeType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    BronzeType.LOCAL_TIMESTAMP: pa.timestamp("us"),
    BronzeType.DATE: pa.date32(),
    BronzeType.JSON: pa.string(),
}
_EXACT: dict[BronzeType, frozenset[type]] = {
    BronzeType.INTEGER: frozenset({int, type(None)}),
    BronzeType.NUMBER: frozenset({int, float, type(None)}),
}
_AIRBYTE_TYPES = (pa.string(), pa.timestamp("us", tz="UTC"), pa.string())


@dataclass
class _Batch:
    rows: list[dict[str, Any]] = field(default_factory=list)
    extracted_at: list[int] = field(default_factory=list)
    """Milliseconds since 1970, in UTC."""
    changes: dict[int, list[dict[str, Any]]] = field(default_factory=dict)


def broken_line(line: int, error: str, raw: str) -> dict[str, Any]:
    """Returns the change entry of a line that could not be read, whose row is all null."""
    return {
        "field": "*",
        "change": "NULLED",
        "reason": "SOURCE_SERIALIZATION_ERROR",
        "line": line,
        "error": error,
        "raw": raw[:RAW_SHOWN],
    }


class StreamWriter:
    """Writes `{directory}/{part}.parquet`. Starts a new file when one is large, or on `cut()`."""

    def __init__(self, directory: Path, columns: Sequence[BronzeColumn], sync_id: str) -> None:
        self._directory = directory
        self._columns = columns
        self._sync_id = sync_id
        airbyte = zip(RESERVED, _AIRBYTE_TYPES, strict=True)
        self._schema = pa.schema([*airbyte, *((c.name, _ARROW[c.type]) for c in columns)])
        self._batch = _Batch()
        self._batch_rows = FIRST_BATCH_ROWS
        self._file: pq.ParquetWriter | None = None
        self._path = directory
        self._part = 0
        self._file_rows = 0
        self.finished: list[WrittenFile] = []
        """Files that are complete and that `take_finished` has not returned yet."""
        self.rows = 0
        self.broken_rows = 0
        self.pending_rows = 0
        """Rows since the last `cut`."""

    def add(self, record: dict[str, Any], extracted_at: int) -> None:
        self._batch.rows.append(record)
        self._batch.extracted_at.append(extracted_at)
        self.rows += 1
        self.pending_rows += 1
        if len(self._batch.rows) >= self._batch_rows:
            self._write_batch()

    def add_broken(self, change: dict[str, Any], extracted_at: int) -> None:
        self._batch.changes[len(self._batch.rows)] = [change]
        self.broken_rows += 1
        self.add({}, extracted_at)

    def cut(self) -> None:
        """Ends the current file, so that everything added so far is in a finished one."""
        self._write_batch()
        self._end_file()
        self.pending_rows = 0

    def take_finished(self) -> list[WrittenFile]:
        files, self.finished = self.finished, []
        return files

    def write_empty(self) -> None:
        """Writes a file without rows, since an empty stream still has its columns."""
        self._open().write_table(self._schema.empty_table())

    def _write_batch(self) -> None:
        batch, self._batch = self._batch, _Batch()
        if not batch.rows:
            return
        data = [self._column(column, batch) for column in self._columns]
        table = pa.Table.from_arrays([*self._airbyte(batch), *data], schema=self._schema)
        writer = self._open()
        writer.write_table(table)
        self._file_rows += table.num_rows
        row_bytes = table.nbytes // table.num_rows + 1
        self._batch_rows = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
        if self._path.stat().st_size >= FILE_BYTES:
            self._end_file()

    def _end_file(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        self.finished.append(
            WrittenFile(str(self._path), self._part, self._file_rows, self._path.stat().st_size)
        )
        self._part += 1

    def _open(self) -> Any:
        if self._file is None:
            self._path = self._directory / f"{self._part}.parquet"
            self._file = pq.ParquetWriter(self._path, self._schema)
            self._file_rows = 0
        return self._file

    def _airbyte(self, batch: _Batch) -> list[pa.Array]:
        count = len(batch.rows)
        plain = self._meta([])
        metas = [plain] * count
        for row, changes in batch.changes.items():
            metas[row] = self._meta(changes)
        extracted = pa.array(batch.extracted_at, pa.timestamp("ms", tz="UTC"))
        return [
            pa.array(_raw_ids(count), pa.string()),
            extracted.cast(pa.timestamp("us", tz="UTC")),
            pa.array(metas, pa.string()),
        ]

    def _meta(self, changes: list[dict[str, Any]]) -> str:
        return orjson.dumps({"changes": changes, "sync_id": self._sync_id}).decode()

    def _column(self, column: BronzeColumn, batch: _Batch) -> pa.Array:
        values = [row.get(column.field) for row in batch.rows]
        fast = _fast(values, column.type)
        return self._fitted(values, column, batch) if fast is None else fast

    def _fitted(self, values: list[Any], column: BronzeColumn, batch: _Batch) -> pa.Array:
        for row, value in enumerate(values):
            try:
                values[row] = fit(value, column.type)
            except DoesNotFit:
                values[row] = None
                change = {
                    "field": column.field,
                    "change": "NULLED",
                    "reason": "DESTINATION_TYPECAST_ERROR",
                    "value": shown(value),
                }
                batch.changes.setdefault(row, []).append(change)
        return pa.array(values, _ARROW[column.type])


def _fast(values: list[Any], kind: BronzeType) -> pa.Array | None:
    """Returns the column at once if every value fits as it is, or None if each needs a check."""
    # Arrow would cut 1.5 down to 1, and take True for a number.
    exact = _EXACT.get(kind)
    if kind is BronzeType.JSON or (exact and not exact.issuperset(map(type, values))):
        return None
    try:
        if kind is BronzeType.TIMESTAMP:
            return _timestamps(pa.array(values, pa.string()))
        if kind in {BronzeType.LOCAL_TIMESTAMP, BronzeType.DATE}:
            return pc.cast(pa.array(values, pa.string()), _ARROW[kind])
        return pa.array(values, _ARROW[kind])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None


def _timestamps(texts: pa.Array) -> pa.Array:
    """Parses texts that all have an offset, or that all have none and are in UTC."""
    target = _ARROW[BronzeType.TIMESTAMP]
    try:
        return pc.cast(texts, target)
    except pa.ArrowInvalid:
        return pc.cast(pc.cast(texts, pa.timestamp("us")), target)


def _raw_ids(count: int) -> list[str]:
    """Returns random UUIDs (version 4), generated in bulk."""
    digits = os.urandom(16 * count).hex()
    return [
        f"{digits[i : i + 8]}-{digits[i + 8 : i + 12]}-4{digits[i + 13 : i + 16]}"
        f"-a{digits[i + 17 : i + 20]}-{digits[i + 20 : i + 32]}"
        for i in range(0, 32 * count, 32)
    ]
