"""Unpacks the file that a source names into a plain local file, in the worker process."""

import gzip
import shutil
import zipfile
from pathlib import Path
from typing import IO, cast

from app.airbyte.file_formats import FileFormat, FileKind, Packing
from app.airbyte.local.files.job import FileJob
from app.errors import EngineFailed, SourceNotFound, SourceUnreadable

COPY_BUFFER = 1024 * 1024
SPARE_DISK = 256 * 1024 * 1024
DAMAGED = "The file is damaged or was cut off: copy it again."


def format_of(job: FileJob) -> FileFormat:
    return FileFormat(job.options["format"])


def opened(path: Path, packing: Packing, job: FileJob) -> IO[bytes]:
    try:
        return cast(IO[bytes], gzip.open(path)) if packing is Packing.GZIP else path.open("rb")
    except FileNotFoundError:
        raise SourceNotFound(f"{job.name} does not exist.") from None
    except PermissionError:
        raise SourceNotFound(f"The gateway's user may not read {job.name}.") from None


def unpacked(job: FileJob) -> tuple[Path, Packing]:
    """Returns the file to read, and its remaining packing: DuckDB reads gzip itself (CSV only)."""
    packing = FileKind.of(job.name).packing
    if packing is Packing.ZIP:
        return _unzip(job), Packing.NONE
    if packing is Packing.GZIP and format_of(job) is FileFormat.PARQUET:
        target = job.directory / "unpacked"
        with opened(job.path, packing, job) as source, target.open("wb") as out:
            # Its size is known only after unpacking.
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
                    f"{job.name} has {len(members)} files in it: expected exactly one.",
                    hint="Zip each file separately, and create a source for each.",
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
            f"{job.name} needs {size} more bytes, but only {free} are free under ASGARD_HOME.",
            hint="Free disk space, or move ASGARD_HOME to a larger disk.",
            retryable=True,
        )
