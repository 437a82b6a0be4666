"""The file that a source names, as a plain local file. Runs in the worker process."""

import gzip
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from app.airbyte.file_formats import FileFormat, FileKind, Packing
from app.errors import EngineFailed, SourceNotFound, SourceUnreadable

COPY_BUFFER = 1024 * 1024
SPARE_DISK = 256 * 1024 * 1024
DAMAGED = "The file is damaged or was cut off: copy it again."


@dataclass(frozen=True)
class FileJob:
    path: Path
    name: str
    """What the client calls the file: used in messages, and for its suffixes."""
    format: FileFormat
    directory: Path
    """Where its Parquet files and what was unpacked go."""
    sync_id: str = ""
    threads: int = 2


@dataclass(frozen=True)
class FileResult:
    files: list[dict[str, Any]]
    rows: int
    broken_rows: int


def opened(path: Path, packing: Packing, job: FileJob) -> IO[bytes]:
    try:
        return cast(IO[bytes], gzip.open(path)) if packing is Packing.GZIP else path.open("rb")
    except FileNotFoundError:
        raise SourceNotFound(f"{job.name} does not exist.") from None
    except PermissionError:
        raise SourceNotFound(f"{job.name} may not be read by the gateway's user.") from None


def unpacked(job: FileJob) -> tuple[Path, Packing]:
    """The file to read, and what it is still packed in: DuckDB reads gzip itself (CSV only)."""
    packing = FileKind.of(job.name).packing
    if packing is Packing.ZIP:
        return _unzip(job), Packing.NONE
    if packing is Packing.GZIP and job.format is FileFormat.PARQUET:
        target = job.directory / "unpacked"
        with opened(job.path, packing, job) as source, target.open("wb") as out:
            # How large it gets is known only when it is there.
            while block := source.read(COPY_BUFFER):
                _need_space(job, len(block))
                out.write(block)
        return target, Packing.NONE
    return job.path, packing


def _unzip(job: FileJob) -> Path:
    target = job.directory / "unpacked"
    try:
        with zipfile.ZipFile(job.path) as archive:
            members = [m for m in archive.infolist() if not _is_clutter(m)]
            if len(members) != 1:
                raise SourceUnreadable(
                    f"{job.name} has {len(members)} files in it; a zipped source has exactly one.",
                    hint="Zip each file alone, and make a source of each.",
                    members=[m.filename for m in members[:20]],
                )
            _need_space(job, members[0].file_size)
            with archive.open(members[0]) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, COPY_BUFFER)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise SourceUnreadable(f"{job.name} cannot be unzipped: {error}.", hint=DAMAGED) from error
    except FileNotFoundError:
        raise SourceNotFound(f"{job.name} does not exist.") from None
    return target


def _is_clutter(member: zipfile.ZipInfo) -> bool:
    return member.is_dir() or member.filename.startswith("__MACOSX/")


def _need_space(job: FileJob, size: int) -> None:
    free = shutil.disk_usage(job.directory).free
    if size + SPARE_DISK > free:
        raise EngineFailed(
            f"{job.name} needs {size} bytes more; {free} are free under ASGARD_HOME.",
            hint="Free disk space, or move ASGARD_HOME to a larger disk.",
            retryable=True,
        )
