"""`python -m app.airbyte.local.file_worker`: reads the files of sources, in a sandbox.

The files may be hostile, and so may this process after it has parsed one. It has no access to the
lake and no network. It writes Parquet files into the given directory, and the gateway uploads
them. A message names the type of its source, which decides the module that reads the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from app.airbyte.local.files.job import FileJob
from app.airbyte.local.files.opening import opened_without_links
from app.airbyte.local.source_types import SOURCE_TYPES
from app.processes.worker_main import Emit, Handlers, serve

Message = dict[str, Any]

READERS = {type_: import_module(source.reader) for type_, source in SOURCE_TYPES.items()}
"""Imported before any file is read, so that the first one does not take longer."""


def _read_file(message: Message, _: Emit) -> Message:
    with _job(message) as job:
        return asdict(_reader(message).read_file(job))


def _file_streams(message: Message, _: Emit) -> Message:
    with _job(message) as job:
        return {"streams": _reader(message).file_streams(job)}


def _reader(message: Message) -> Any:
    return READERS[message["type"]]


@contextmanager
def _job(message: Message) -> Iterator[FileJob]:
    with opened_without_links(Path(message["path"]), message["name"]) as path:
        yield FileJob(
            path=path,
            name=message["name"],
            directory=Path(message["directory"]),
            stream=message["stream"],
            options=message["options"],
            sync_id=message.get("sync_id", ""),
        )


def open_worker(_: Message) -> Handlers:
    return {"read_file": _read_file, "file_streams": _file_streams}


if __name__ == "__main__":
    serve(open_worker)
