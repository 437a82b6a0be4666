"""The kind of a file, by its name: format, compression, and the stream that it becomes."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath


class FileFormat(StrEnum):
    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    PARQUET = "parquet"

    @classmethod
    def named(cls, name: str) -> "FileFormat | None":
        return _NAMES.get(name.lower())


_NAMES = {
    "csv": FileFormat.CSV,
    "tsv": FileFormat.TSV,
    "jsonl": FileFormat.JSONL,
    "ndjson": FileFormat.JSONL,
    "json": FileFormat.JSONL,
    "parquet": FileFormat.PARQUET,
}
FORMAT_NAMES = tuple(_NAMES)


class Packing(StrEnum):
    NONE = "none"
    ZIP = "zip"
    GZIP = "gz"


@dataclass(frozen=True)
class FileKind:
    """The kind of a file. `format` is None if the name does not show it."""

    format: FileFormat | None
    packing: Packing
    stream: str

    @classmethod
    def of(cls, name: str) -> "FileKind":
        """Returns the kind: `flights.csv.zip` is a zipped CSV and the stream `flights`."""
        *_, last = PurePosixPath(name).parts or ("",)
        stem, *suffixes = last.split(".")
        packing = Packing.NONE
        if suffixes and suffixes[-1].lower() in {"zip", "gz"}:
            packing = Packing(suffixes.pop().lower())
        format_ = FileFormat.named(suffixes[-1]) if suffixes else None
        return cls(format_, packing, stem)
