"""Reads JSON lines, and CSV that is not clean, line by line. Runs in the worker process."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from app.airbyte.file_formats import Packing
from app.airbyte.local.bronze_types import INT64, BronzeColumn, BronzeType, unique_names
from app.airbyte.local.bronze_writer import StreamWriter, broken_line
from app.airbyte.local.files.csv import CsvDialect, csv_records, is_text, shown, text_lines
from app.airbyte.local.files.job import FileJob, FileResult
from app.airbyte.local.files.unpack import opened
from app.errors import SourceUnreadable


def read_csv_lines(
    path: Path, packing: Packing, dialect: CsvDialect, job: FileJob, extracted_at: int
) -> FileResult:
    names = dialect.columns
    columns = [BronzeColumn(name, name, BronzeType.STRING) for name in names]
    writer = new_writer(job, columns)
    with opened(path, packing, job) as file:
        for record in csv_records(text_lines(file, dialect.newline), dialect):
            if record.values is None:
                change = broken_line(record.line, record.error, record.raw)
                writer.add_broken(change, extracted_at)
            else:
                writer.add(dict(zip(names, record.values, strict=True)), extracted_at)
    return finished(writer)


def read_json_lines(path: Path, packing: Packing, job: FileJob, extracted_at: int) -> FileResult:
    """Reads the file twice, since the types of its columns are known only at its end."""
    writer = new_writer(job, json_columns(path, packing, job))
    for number, line, record in _json_records(path, packing, job):
        if record is None:
            writer.add_broken(broken_line(number, "not a JSON object", shown(line)), extracted_at)
        else:
            writer.add(record, extracted_at)
    return finished(writer)


def json_columns(
    path: Path, packing: Packing, job: FileJob, lines: int | None = None
) -> list[BronzeColumn]:
    """Returns the columns of all of its lines, or of the first `lines` ones."""
    types: dict[str, BronzeType | None] = {}
    good = False
    for _, _, record in islice(_json_records(path, packing, job), lines):
        good = good or record is not None
        for field, value in (record or {}).items():
            types[field] = _joined(types.get(field), value)
    if not good:
        raise SourceUnreadable(
            f"{job.name} has no line that is a JSON object, and JSON arrays are not supported.",
            hint="Write JSON lines: each object on its own line, without commas between them.",
        )
    names = unique_names(tuple(types))
    return [
        BronzeColumn(field, name, type_ or BronzeType.STRING)
        for (field, type_), name in zip(types.items(), names, strict=True)
    ]


def _joined(previous: BronzeType | None, value: Any) -> BronzeType | None:
    if value is None:
        return previous
    type_ = _type(value)
    if previous is None or previous is type_:
        return type_
    if {previous, type_} == {BronzeType.INTEGER, BronzeType.NUMBER}:
        return BronzeType.NUMBER
    return BronzeType.JSON


def _type(value: Any) -> BronzeType:
    match value:
        case bool():
            return BronzeType.BOOLEAN
        case int():
            return BronzeType.INTEGER if value in INT64 else BronzeType.NUMBER
        case float():
            return BronzeType.NUMBER
        case str():
            return BronzeType.STRING
        case _:
            return BronzeType.JSON


def _json_records(
    path: Path, packing: Packing, job: FileJob
) -> Iterator[tuple[int, str, dict[str, Any] | None]]:
    with opened(path, packing, job) as file:
        for number, line in enumerate(text_lines(file, "\n"), start=1):
            if text := line.strip():
                yield number, text, _object(text)


def _object(text: str) -> dict[str, Any] | None:
    if not is_text(text):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def new_writer(job: FileJob, columns: Sequence[BronzeColumn]) -> StreamWriter:
    """Returns the writer of the stream's records. `finished` ends it."""
    output = job.directory / "out"
    output.mkdir()
    return StreamWriter(output, columns, job.sync_id)


def finished(writer: StreamWriter) -> FileResult:
    if not writer.rows:
        writer.write_empty()
    writer.cut()
    files = [file.to_json() for file in writer.take_finished()]
    return FileResult(files, writer.rows, writer.broken_rows)
