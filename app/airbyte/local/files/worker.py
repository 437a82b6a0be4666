"""`python -m app.airbyte.local.files.worker`: reads the files of sources, in a sandbox.

The files may be hostile, and so may this process after it has parsed one. It has no access to the
lake and no network. It writes Parquet files into the given directory, and the gateway uploads
them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.airbyte.file_formats import FileFormat
from app.airbyte.local.files.opening import opened_without_links
from app.airbyte.local.files.reader import file_columns, read_file
from app.airbyte.local.files.unpack import FileJob
from app.processes.worker_main import Emit, Handlers, serve

Message = dict[str, Any]


def _read_file(message: Message, _: Emit) -> Message:
    with _job(message) as job:
        return asdict(read_file(job))


def _file_columns(message: Message, _: Emit) -> Message:
    with _job(message) as job:
        return {"columns": file_columns(job)}


@contextmanager
def _job(message: Message) -> Iterator[FileJob]:
    with opened_without_links(Path(message["path"]), message["name"]) as path:
        yield FileJob(
            path=path,
            name=message["name"],
            format=FileFormat(message["format"]),
            directory=Path(message["directory"]),
            sync_id=message.get("sync_id", ""),
        )


def open_worker(_: Message) -> Handlers:
    return {"read_file": _read_file, "file_columns": _file_columns}


if __name__ == "__main__":
    serve(open_worker)
