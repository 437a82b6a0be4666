"""Counts the rows of Parquet files by their footers, the only part that is read. A confined worker
parses them."""

import asyncio
from base64 import b64encode
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from app.concurrency.together import together
from app.errors import EngineUnreachable
from app.processes import WorkerError, WorkerFailure, WorkerPool, WorkerProcess
from app.sandbox.policy import Sandbox
from app.telemetry.calls import SILENT, Telemetry

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

    from app.lakehouse.connection import S3Connection
    from app.lakehouse.storage import ObjectInfo

READERS = 16
"""Footers that are read concurrently: each takes two requests."""
FIRST_BYTES = 64 * 1024
"""Read from the end of a file. Most footers are shorter, and a longer one takes another request."""
MOST_BYTES = 4 * 1024**2
"""A longer footer counts as damage: its length is one of the bytes that may be damaged, and Arrow
takes up to 230 times as much memory to read it."""
PARSING_SECONDS = 60.0
WORKER_MEMORY = 2 * 1024**3
MAGIC = b"PAR1"
END_BYTES = 8
"""The length of the footer and the magic, which follow it."""


class ParquetFooters:
    def __init__(
        self, connection: "S3Connection", log_path: Path, telemetry: Telemetry = SILENT
    ) -> None:
        self._connection = connection
        self._log_path = log_path
        self._telemetry = telemetry
        self._limiter = anyio.CapacityLimiter(READERS)
        self._reading = asyncio.Semaphore(READERS)
        self._workers = WorkerPool(self._start, 1, engine="footers", telemetry=telemetry)

    async def close(self) -> None:
        await self._workers.close()

    async def rows(self, files: Iterable["ObjectInfo"]) -> dict[str, int | None]:
        """Return the rows of each file, by key, or None if it is not a valid Parquet file.

        Raises `EngineUnreachable` if S3 cannot be read.
        """
        infos = list(files)
        counted = await together(self._rows(info) for info in infos)
        return {info.key: rows for info, rows in zip(infos, counted, strict=True)}

    async def _rows(self, info: "ObjectInfo") -> int | None:
        if not info.size:
            return None
        async with self._reading:  # until it is parsed, since each footer takes memory
            try:
                end = await anyio.to_thread.run_sync(self._end, info.key, limiter=self._limiter)
            except OSError as error:
                raise EngineUnreachable(f"S3 cannot be read: {error}") from None
            return None if end is None else await self._rows_in(end)

    async def _rows_in(self, end: bytes) -> int | None:
        """Return the rows, or None if the footer is not valid or ends its worker twice. A single
        death may have another cause."""
        for _ in range(2):
            try:
                async with self._workers.acquire() as worker:
                    message = {"op": "rows", "end": b64encode(end).decode()}
                    rows = (await worker.call(message, timeout=PARSING_SECONDS)).get("rows")
                    return rows if isinstance(rows, int) and rows >= 0 else None
            except WorkerError:
                return None
            except WorkerFailure:
                continue
        return None

    async def _start(self) -> WorkerProcess:
        return await WorkerProcess.start(
            "app.lakehouse.bronze.footer_worker",
            name="footer worker",
            log_path=self._log_path,
            handshake={},
            sandbox=Sandbox(),
            max_rss=WORKER_MEMORY,
            telemetry=self._telemetry,
            engine="footers",
        )

    def _end(self, key: str) -> bytes | None:
        """Return the last bytes of the file, with the whole footer, or None if it has none."""
        with self._files.open_input_file(f"{self._connection.bucket}/{key}") as file:
            size: int = file.size()
            end: bytes = file.read_at(min(size, FIRST_BYTES), max(0, size - FIRST_BYTES))
            length = _footer_length(end)
            if length is None or length > min(size, MOST_BYTES):
                return None
            if length > len(end):
                end = file.read_at(length, size - length)
            return end

    @cached_property
    def _files(self) -> "FileSystem":
        from pyarrow.fs import S3FileSystem

        from app.lakehouse.timeouts import CONNECT_TIMEOUT

        return S3FileSystem(
            access_key=self._connection.access_key,
            secret_key=self._connection.secret_key,
            endpoint_override=self._connection.endpoint,
            region=self._connection.region,
            connect_timeout=CONNECT_TIMEOUT,
            request_timeout=self._connection.read_timeout,
        )


def _footer_length(end: bytes) -> int | None:
    """Return the bytes from the start of the footer to the end of the file."""
    if len(end) < END_BYTES or not end.endswith(MAGIC):
        return None
    return int.from_bytes(end[-END_BYTES : -len(MAGIC)], "little") + END_BYTES
