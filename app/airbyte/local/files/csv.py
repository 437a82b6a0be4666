"""CSV as text: the dialect of a file, and its records with their line numbers, one by one.

This is pure Python for files that are not clean. Files that DuckDB reads without an error never
come here.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from typing import IO

from app.airbyte.local.bronze_types import unique_names

DELIMITERS = ",;\t|"
MAX_QUOTED_LINES = 200
"""A quoted field that does not end within this number of lines is an unclosed quote."""


class HeaderBroken(Exception):
    """The header is not a valid record. The text says why."""


@dataclass(frozen=True)
class CsvDialect:
    delimiter: str
    newline: str
    columns: tuple[str, ...]
    header_lines: int = 1
    """A quoted name may have line breaks (RFC 4180)."""

    @property
    def is_plain(self) -> bool:
        """Return whether DuckDB finds the end of the header by itself."""
        return self.header_lines == 1 and not any("\r" in name for name in self.columns)

    @classmethod
    def of(cls, head: bytes, delimiter: str | None = None) -> "CsvDialect | None":
        """Return the dialect of a file that starts with `head`, or None if it has no header.

        Raises `HeaderBroken`.
        """
        text = head.decode("utf-8-sig", errors="replace")
        outside = _outside_quotes(text)
        newline = "\r" if "\r" in outside and "\n" not in outside else "\n"
        first = text.split(newline, 1)[0]
        if not first.strip():
            return None
        header = outside.split(newline, 1)[0]
        chosen = delimiter or max(DELIMITERS, key=header.count)
        try:
            fields, lines = _first_record(text, newline, chosen)
        except csv.Error as error:
            if first.count('"') % 2:
                raise HeaderBroken("a quote is not closed, or not where a name begins") from error
            fields, lines = _plainly(first.rstrip("\r"), chosen), 1
        return cls(chosen, newline, unique_names(tuple(fields)), lines)


def _first_record(text: str, newline: str, delimiter: str) -> tuple[list[str], int]:
    """Return the fields and the number of lines that they take."""
    lines = (f"{line}{newline}" for line in text.split(newline))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    fields = next(reader)
    if reader.line_num > MAX_QUOTED_LINES:
        raise csv.Error("too many lines")
    return fields, reader.line_num


def _plainly(line: str, delimiter: str) -> list[str]:
    """Return the fields of one line. Text after a closed quote belongs to its field."""
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error as error:
        raise HeaderBroken(str(error)) from error


def _outside_quotes(text: str) -> str:
    return re.sub(r'"[^"]*"', "", text)


@dataclass(frozen=True)
class CsvRecord:
    line: int
    """The line where it begins. The header is line 1."""
    values: list[str | None] | None
    """None for a broken record. `error` says why."""
    error: str
    raw: str


def text_lines(file: IO[bytes], newline: str) -> TextIOWrapper:
    """Return the file as text. Bytes that are not UTF-8 become lone surrogates for `is_text`."""
    return TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline=newline)


def is_text(line: str) -> bool:
    return line.isascii() or line.isprintable() or not any("\ud800" <= c <= "\udfff" for c in line)


def shown(line: str) -> str:
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def csv_records(lines: Iterable[str], dialect: CsvDialect) -> Iterator[CsvRecord]:
    """Yield every record after the header. A broken one takes one line, and reading goes on."""
    reader = _Records(lines, dialect)
    while (record := reader.next()) is not None:
        yield record


class _Records:
    def __init__(self, lines: Iterable[str], dialect: CsvDialect) -> None:
        self._lines = iter(lines)
        self._ahead: list[str] = []
        self._number = 0
        for _ in range(dialect.header_lines):
            self._read()
        self._width = len(dialect.columns)
        self._delimiter = dialect.delimiter
        delimiter = re.escape(dialect.delimiter)
        self._field = re.compile(rf'(?:"((?:[^"]|"")*)"|([^"{delimiter}]*))({delimiter}|\Z)')

    def next(self) -> CsvRecord | None:
        line = self._read()
        while line is not None and not line and self._width > 1:
            line = self._read()
        if line is None:
            return None
        number = self._number
        if '"' not in line:
            return self._checked(number, line, [v or None for v in line.split(self._delimiter)])
        return self._quoted(number, line)

    def _quoted(self, number: int, first: str) -> CsvRecord:
        text = first
        more: list[str] = []
        while text.count('"') % 2 and len(more) < MAX_QUOTED_LINES:
            line = self._read()
            if line is None:
                break
            more.append(line)
            text = f"{text}\n{line}"
        values = self._split(text)
        if values is not None and len(values) == self._width and is_text(text):
            return CsvRecord(number, values, "", text)
        # Only its first line counts as broken: the others may be records of their own.
        self._unread(more)
        error = "a quote is not closed, or not where a field begins"
        if not more and values is not None:
            return self._checked(number, first, values)
        return CsvRecord(number, None, error, shown(first))

    def _checked(self, number: int, line: str, values: list[str | None]) -> CsvRecord:
        if not is_text(line):
            return CsvRecord(number, None, "not UTF-8", shown(line))
        if len(values) != self._width:
            error = f"{len(values)} fields where the header has {self._width}"
            return CsvRecord(number, None, error, line)
        return CsvRecord(number, values, "", line)

    def _split(self, text: str) -> list[str | None] | None:
        values: list[str | None] = []
        position = 0
        while match := self._field.match(text, position):
            quoted, plain, end = match.groups()
            values.append(quoted.replace('""', '"') if quoted is not None else plain or None)
            if not end:
                return values
            position = match.end()
        return None

    def _read(self) -> str | None:
        line = self._ahead.pop() if self._ahead else next(self._lines, None)
        if line is None:
            return None
        self._number += 1
        return line.rstrip("\r\n")

    def _unread(self, lines: list[str]) -> None:
        self._ahead.extend(reversed(lines))
        self._number -= len(lines)
