"""Hands a sandboxed worker's rows over to a publisher, in an Arrow file in the worker's folder.

The publisher treats the file as hostile. An Arrow file ends with a footer, so a truncated file
cannot be taken for a complete one.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app.disk import disk_full, require_room
from app.errors import EngineFailed
from app.processes.handover import open_handed_over

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa

RESULT = "result.arrow"


def write_result(folder: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write one batch after the other, so that memory holds only one of them. A failure leaves no
    file. Raises `EngineFailed` when the disk is full but for its reserve."""
    try:
        _write(folder, schema, batches)
    except BaseException as error:
        discard_result(folder)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise disk_full() from error
        raise


def _write(folder: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    import pyarrow as pa

    options = pa.ipc.IpcWriteOptions(compression="lz4")
    path = str(folder / RESULT)
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, schema, options=options) as writer:
        for batch in batches:
            require_room(folder, batch.nbytes)
            writer.write_batch(batch)


def discard_result(folder: Path) -> None:
    (folder / RESULT).unlink(missing_ok=True)


@contextmanager
def open_result(folder: Path) -> Iterator[pa.RecordBatchReader]:
    """Open the file that the worker of `folder` has written. Raises `EngineFailed`, also when the
    file is read."""
    with open_handed_over(folder, RESULT) as file:
        yield _reader(file, folder)


def _reader(file: Any, folder: Path) -> pa.RecordBatchReader:
    import pyarrow as pa

    try:
        opened = pa.ipc.open_file(file)
    except pa.ArrowInvalid as error:
        raise EngineFailed(f"The worker's result cannot be read: {error}") from error

    def batches() -> Iterator[pa.RecordBatch]:
        for index in range(opened.num_record_batches):
            batch = opened.get_batch(index)
            try:
                # Arrow trusts the lengths and offsets in a file. Without this check, a hostile
                # worker could publish this process's memory.
                batch.validate(full=True)
            except pa.ArrowInvalid as error:
                raise EngineFailed(f"The worker's result is not valid: {error}") from error
            # The embedded lake stores it on the same disk.
            require_room(folder, batch.nbytes)
            yield batch

    return pa.RecordBatchReader.from_batches(opened.schema, batches())
