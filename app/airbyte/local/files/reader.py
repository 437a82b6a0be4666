"""Reads one file into bronze Parquet, by DuckDB. Runs in the worker process.

CSV stays raw: every column is text, `NA` is 'NA', and only an empty unquoted field is null. A file
that DuckDB reads strictly from end to end is taken as it is. Any other file is read again, line by
line: DuckDB's own tolerance (`store_rejects`) gives wrong line numbers and loses everything after
an unclosed quote, so a broken line would be dropped after all.
"""

import contextlib
import gzip
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import orjson

from app.airbyte.file_formats import FileFormat, Packing
from app.airbyte.local.bronze_types import (
    RESERVED,
    BronzeColumn,
    BronzeType,
    WrittenFile,
    unique_names,
)
from app.airbyte.local.files.csv import CsvDialect, HeaderBroken
from app.airbyte.local.files.job import FileJob, FileResult
from app.airbyte.local.files.unpack import COPY_BUFFER, DAMAGED, format_of, opened, unpacked
from app.disk import room
from app.errors import SourceUnreadable

FILE_BYTES = 256 * 1024 * 1024
LINES_LOOKED_AT = 100_000

# Types that Parquet or its other readers do not have, and what they are read as.
_CAST = {
    "HUGEINT": "DECIMAL(38,0)",
    "UHUGEINT": "VARCHAR",
    "UBIGINT": "DECIMAL(20,0)",
    "UINTEGER": "BIGINT",
    "USMALLINT": "INTEGER",
    "UTINYINT": "INTEGER",
    "TINYINT": "INTEGER",
    "SMALLINT": "INTEGER",
    "UUID": "VARCHAR",
    "TIME": "VARCHAR",
    "TIME WITH TIME ZONE": "VARCHAR",
    "INTERVAL": "VARCHAR",
    "BIT": "VARCHAR",
    "TIMESTAMP_NS": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "TIMESTAMP_S": "TIMESTAMP",
}


FORMAT_HINT = "The file's name determines its format, unless the source's config sets `format`."
_BAD_ARCHIVE = (gzip.BadGzipFile, zlib.error, EOFError)


def read_file(job: FileJob) -> FileResult:
    """Reads the file. Raises `SourceNotFound`, or `SourceUnreadable` if it has another format."""
    extracted_at = time.time_ns() // 1_000_000
    with _readable(job), _connection(job) as connection:
        path, packing = unpacked(job)
        match format_of(job):
            case FileFormat.PARQUET:
                query = _parquet_query(connection, path, job)
                try:
                    return _copy(connection, query, job, extracted_at)
                except (duckdb.InvalidInputException, duckdb.SerializationException) as error:
                    raise _not_parquet(error, path, job) from error
            case FileFormat.JSONL:
                from app.airbyte.local.files.lines import read_json_lines

                return read_json_lines(path, packing, job, extracted_at)
            case FileFormat.CSV | FileFormat.TSV:
                dialect = csv_dialect(path, packing, job)
                if dialect.is_plain:
                    query = _csv_query(path, packing, dialect)
                    # DuckDB can mistake all rows for a header. It then finds no rows and no error.
                    with contextlib.suppress(duckdb.Error):
                        copied = _copy(connection, query, job, extracted_at)
                        if copied.rows:
                            return copied
                from app.airbyte.local.files.lines import read_csv_lines

                _remove_output(job.directory)
                return read_csv_lines(path, packing, dialect, job, extracted_at)


def file_streams(job: FileJob) -> list[dict[str, Any]]:
    """Returns the only stream of the file, with its columns."""
    return [{"name": job.stream, "columns": file_columns(job)}]


def file_columns(job: FileJob) -> list[dict[str, str]]:
    """Returns the columns that the file's stream has in bronze, with JSON Schema types."""
    with _readable(job), _connection(job) as connection:
        path, packing = unpacked(job)
        match format_of(job):
            case FileFormat.PARQUET:
                names = _described(connection, path, job)
                return [{"name": name, "type": type_.lower()} for name, type_ in names]
            case FileFormat.JSONL:
                from app.airbyte.local.files.lines import json_columns

                return [_column(c) for c in json_columns(path, packing, job, LINES_LOOKED_AT)]
            case FileFormat.CSV | FileFormat.TSV:
                dialect = csv_dialect(path, packing, job)
                return [{"name": name, "type": "string"} for name in dialect.columns]


def _column(column: BronzeColumn) -> dict[str, str]:
    names = {BronzeType.INTEGER: "integer", BronzeType.NUMBER: "number"}
    return {"name": column.name, "type": names.get(column.type, str(column.type))}


@contextmanager
def _readable(job: FileJob) -> Iterator[None]:
    """Translates the errors of a damaged archive, which can appear anywhere in the reading."""
    try:
        yield
    except _BAD_ARCHIVE as error:
        raise SourceUnreadable(
            f"{job.name} cannot be unpacked: {error}.",
            hint=DAMAGED,
        ) from error


def csv_dialect(path: Path, packing: Packing, job: FileJob) -> CsvDialect:
    with opened(path, packing, job) as file:
        head = file.read(COPY_BUFFER)
    if b"\0" in head:
        raise SourceUnreadable(
            f"{job.name} is not a text file: it contains NUL bytes.", hint=FORMAT_HINT
        )
    tab = "\t" if format_of(job) is FileFormat.TSV else None
    try:
        dialect = CsvDialect.of(head, delimiter=tab)
    except HeaderBroken as broken:
        raise SourceUnreadable(
            f"{job.name} has no valid header: {broken}.",
            hint="The first record of a CSV file must name its columns (RFC 4180).",
        ) from broken
    if dialect is None:
        raise SourceUnreadable(
            f"{job.name} has no header line: it is empty.",
            hint="The first line of a CSV file must name its columns.",
        )
    return dialect


class _connection:  # noqa: N801 — reads as a function
    """A DuckDB that reaches only the file and the job's directory."""

    def __init__(self, job: FileJob) -> None:
        self._job = job

    def __enter__(self) -> duckdb.DuckDBPyConnection:
        job = self._job
        self._duckdb = duckdb.connect(
            config={
                "threads": job.threads,
                "memory_limit": "1GB",
                "temp_directory": str(job.directory / "duckdb"),
                "max_temp_directory_size": f"{room(job.directory)}B",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        self._duckdb.execute("SET allowed_directories = $1", [[str(job.directory)]])
        self._duckdb.execute("SET allowed_paths = $1", [[str(job.path)]])
        self._duckdb.execute("SET enable_external_access = false")
        return self._duckdb

    def __exit__(self, *_: object) -> None:
        self._duckdb.close()


# Every value below goes through `_text` or `_name`. None of them is a client's SQL.


def _csv_query(path: Path, packing: Packing, dialect: CsvDialect) -> str:
    columns = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in dialect.columns)
    return (
        f"SELECT * FROM read_csv({_text(str(path))}, auto_detect = false, header = true, "  # noqa: S608
        f"delim = {_text(dialect.delimiter)}, quote = '\"', escape = '\"', "
        f"columns = {{{columns}}}, allow_quoted_nulls = false, "
        f"compression = '{'gzip' if packing is Packing.GZIP else 'none'}')"
    )


def _read_parquet(path: Path) -> str:
    return f"SELECT * FROM read_parquet({_text(str(path))})"  # noqa: S608


def _described(
    connection: duckdb.DuckDBPyConnection, path: Path, job: FileJob
) -> list[tuple[str, str]]:
    try:
        rows = connection.execute(f"DESCRIBE {_read_parquet(path)}").fetchall()
    except duckdb.Error as error:
        raise _not_parquet(error, path, job) from error
    return [(row[0], row[1]) for row in rows]


def _not_parquet(error: duckdb.Error, path: Path, job: FileJob) -> SourceUnreadable:
    """Returns the error with the client's name for the file instead of the gateway's path."""
    message = (
        str(error).splitlines()[0].replace(str(path), job.name).replace(str(job.path), job.name)
    )
    return SourceUnreadable(f"{job.name} is not a Parquet file: {message[:500]}", hint=FORMAT_HINT)


def _parquet_query(connection: duckdb.DuckDBPyConnection, path: Path, job: FileJob) -> str:
    described = _described(connection, path, job)
    names = unique_names(tuple(name for name, _ in described))
    casts = [
        f"CAST({_name(name)} AS {_cast(type_)}) AS {_name(unique)}"
        for (name, type_), unique in zip(described, names, strict=True)
    ]
    # A file that this gateway wrote already has the three columns: they are created again.
    selected = [s for s, (name, _) in zip(casts, described, strict=True) if name not in RESERVED]
    return f"SELECT {', '.join(selected)} FROM read_parquet({_text(str(path))})"  # noqa: S608


def _cast(type_: str) -> str:
    return "VARCHAR" if type_.startswith("ENUM(") else _CAST.get(type_, type_)


def _copy(
    connection: duckdb.DuckDBPyConnection, query: str, job: FileJob, extracted_at: int
) -> FileResult:
    meta = orjson.dumps({"changes": [], "sync_id": job.sync_id}).decode()
    output = job.directory / "out"
    connection.execute(
        f"COPY (SELECT uuid()::VARCHAR AS _airbyte_raw_id, "  # noqa: S608
        f"to_timestamp({extracted_at / 1000}) AS _airbyte_extracted_at, "
        f"{_text(meta)} AS _airbyte_meta, * FROM ({query})) TO {_text(str(output))} "
        f"(FORMAT parquet, FILE_SIZE_BYTES {FILE_BYTES})"
    )
    files = [
        WrittenFile(str(path), part, _row_count(connection, path), path.stat().st_size)
        for part, path in enumerate(_in_order(output))
    ]
    return FileResult([file.to_json() for file in files], sum(file.rows for file in files), 0)


def _row_count(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    rows = connection.execute("SELECT num_rows FROM parquet_file_metadata($1)", [str(path)])
    return int(rows.fetchall()[0][0])


def _in_order(directory: Path) -> Iterator[Path]:
    return iter(sorted(directory.iterdir(), key=lambda path: (len(path.name), path.name)))


def _remove_output(directory: Path) -> None:
    shutil.rmtree(directory / "out", ignore_errors=True)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
