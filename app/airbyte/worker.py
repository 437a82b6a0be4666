"""`python -m app.airbyte.worker`: reads files and speaks with connectors, outside the gateway.

It writes Parquet into the directory that it is given and knows nothing of the lake; the gateway
uploads. A configuration with secrets comes by stdin.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.worker_loop import Emit, Handler, serve

Message = dict[str, Any]


def _read_file(message: Message, emit: Emit) -> Message:
    from app.airbyte.file_source import read_file

    del emit
    return asdict(read_file(_file_job(message)))


def _file_columns(message: Message, emit: Emit) -> Message:
    from app.airbyte.file_source import file_columns

    del emit
    return {"columns": file_columns(_file_job(message))}


def _file_job(message: Message) -> Any:
    from app.airbyte.file_formats import FileFormat
    from app.airbyte.unpacking import FileJob

    directory = Path(message["directory"])
    path = Path(message["path"]) if "path" in message else _downloaded(message, directory)
    return FileJob(
        path=path,
        name=message["name"],
        format=FileFormat(message["format"]),
        directory=directory,
        sync_id=message.get("sync_id", ""),
    )


def _downloaded(message: Message, directory: Path) -> Path:
    """A file of the lake's own bucket."""
    from botocore.exceptions import BotoCoreError, ClientError

    from app.errors import EngineUnreachable, SourceNotFound
    from app.lakehouse.connection import S3Connection
    from app.lakehouse.storage import open_client

    connection = S3Connection(**message["s3"])
    target = directory / "downloaded"
    try:
        open_client(connection).download_file(connection.bucket, message["key"], str(target))
    except ClientError as error:
        raise SourceNotFound(f"{message['name']} cannot be read from the bucket.") from error
    except BotoCoreError as error:
        raise EngineUnreachable("S3 cannot be reached.") from error
    return target


def _connector(message: Message, emit: Emit) -> Message:
    from app.airbyte import connector_process
    from app.airbyte.connector_read import program_of

    program = program_of(message)

    def log(text: str) -> None:
        emit({"log": text})

    match message["command"]:
        case "spec":
            return {"spec": connector_process.spec(program, log)}
        case "check":
            return connector_process.check(program, message["config"], log)
        case _:
            return {"streams": connector_process.discover(program, message["config"], log)}


def _read_connector(message: Message, emit: Emit) -> Message:
    from app.airbyte.connector_read import ConnectorRead, job_of, program_of

    return ConnectorRead(job_of(message, program_of(message)), emit).run()


def open_worker(hello: Message) -> dict[str, Handler]:
    if hello.get("preload") == "file":
        import app.airbyte.file_source  # noqa: F401 — the first file need not wait for DuckDB
    return {
        "read_file": _read_file,
        "file_columns": _file_columns,
        "connector": _connector,
        "read_connector": _read_connector,
    }


if __name__ == "__main__":
    serve(open_worker)
