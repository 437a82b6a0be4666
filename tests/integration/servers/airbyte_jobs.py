"""A job of the stand-in Airbyte: it counts, and writes Parquet as the S3 destination lays it out.

`{path}/{namespace}/{stream}/{YEAR}_{MONTH}_{DAY}_{EPOCH}_{part}.parquet`, flushed every ten rows.
An overwriting sync deletes the replaced files at its end. Files that a failed one has flushed stay.
"""

import io
import re
import threading
import time
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.config import Config

if TYPE_CHECKING:
    from tests.integration.servers.airbyte_state import AirbyteState

PART = 10
CHANGE = pa.struct([("field", pa.string()), ("change", pa.string()), ("reason", pa.string())])
META = pa.struct([("sync_id", pa.int64()), ("changes", pa.list_(CHANGE))])
OWN = [
    ("_airbyte_raw_id", pa.string()),
    ("_airbyte_extracted_at", pa.timestamp("ms", tz="UTC")),
    ("_airbyte_meta", META),
    ("_airbyte_generation_id", pa.int64()),
]
TOY = pa.schema(
    [
        *OWN,
        ("n", pa.int64()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("odd", pa.int64()),
        ("inner", pa.string()),
    ]
)
USERS = pa.schema([*OWN, ("id", pa.int64()), ("name", pa.string()), ("age", pa.int64())])
"""The streams of the connector faker, as far as tests request them."""


@dataclass
class Job:
    id: int
    connection_id: str
    at: int
    """Milliseconds since 1970. No two jobs have the same time."""
    status: str = "pending"
    rows: int = 0
    bytes: int = 0
    failure: dict[str, Any] | None = None
    updated: float = field(default_factory=time.time)
    cancelled: threading.Event = field(default_factory=threading.Event)
    resumed: threading.Event = field(default_factory=threading.Event)
    """Ends a hang."""
    thread: threading.Thread | None = None

    @property
    def ended(self) -> bool:
        return self.status in {"succeeded", "failed", "cancelled"}

    def document(self) -> dict[str, Any]:
        seconds = max(0, int(self.updated - self.at / 1000))
        return {
            "jobId": self.id,
            "connectionId": self.connection_id,
            "jobType": "sync",
            "status": self.status,
            "startTime": f"{datetime.fromtimestamp(self.at / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "lastUpdatedAt": f"{datetime.fromtimestamp(self.updated, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "duration": f"PT{seconds}S",
            "bytesSynced": self.bytes,
            "rowsSynced": self.rows,
        }


class Failed(Exception):
    def __init__(self, failure: dict[str, Any]) -> None:
        super().__init__(failure["externalMessage"])
        self.failure = failure


class Cancelled(Exception):
    pass


def run_job(state: "AirbyteState", job: Job) -> None:
    job.status = "running"
    ending = "succeeded"
    try:
        connection = state.connections[job.connection_id]
        source = state.sources[connection["sourceId"]]
        destination = state.destinations[connection["destinationId"]]["configuration"]
        bucket = _Bucket(destination)
        for stream in connection["configurations"]["streams"]:
            _Stream(state, job, connection, source, stream, bucket).sync()
    except Cancelled:
        ending = "cancelled"
    except Failed as failed:
        job.failure, ending = failed.failure, "failed"
    except Exception as error:  # noqa: BLE001 — as a worker of Airbyte would report it
        job.failure = _failure(str(error), "system_error", "destination")
        ending = "failed"
    job.updated = time.time()
    job.status = ending


class _Bucket:
    def __init__(self, config: dict[str, Any]) -> None:
        self.name = config["s3_bucket_name"]
        self.path = config["s3_bucket_path"]
        self.s3 = boto3.client(
            "s3",
            endpoint_url=config.get("s3_endpoint"),
            region_name=config["s3_bucket_region"],
            aws_access_key_id=config["access_key_id"],
            aws_secret_access_key=config["secret_access_key"],
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )

    def keys(self, prefix: str) -> set[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {item["Key"] for page in pages for item in page.get("Contents", ())}


class _Stream:
    def __init__(
        self,
        state: "AirbyteState",
        job: Job,
        connection: dict[str, Any],
        source: dict[str, Any],
        stream: dict[str, Any],
        bucket: _Bucket,
    ) -> None:
        config = source["configuration"]
        self._state, self._job, self._config, self._bucket = state, job, config, bucket
        faker = source["sourceType"] == "faker"
        self._schema, self._values = (USERS, _user) if faker else (TOY, _toy)
        for name in config.get("columns", ()):
            self._schema = self._schema.append(pa.field(name, pa.int64()))
        self._rows: int = config["count" if faker else "rows"]
        self._mode = stream["syncMode"]
        self._stream_key = (job.connection_id, stream["name"])
        by_source = connection["namespaceDefinition"] == "source"
        namespace = config.get("namespace") if by_source else None
        name = f"{connection['prefix'] or ''}{stream['name']}"
        parts = [bucket.path.strip("/"), _safe(namespace or ""), _safe(name)]
        self._prefix = "/".join(part for part in parts if part)
        at = datetime.fromtimestamp(job.at / 1000, UTC)
        self._stem = f"{self._prefix}/{at:%Y_%m_%d}_{job.at}_"
        self._part = 0

    def sync(self) -> None:
        previous = self._bucket.keys(f"{self._prefix}/")
        incremental = self._mode.startswith("incremental")
        start = self._state.stream_states.get(self._stream_key, 0) if incremental else 0
        rows: list[int] = []
        for n in range(start + 1, self._rows + 1):
            rows.append(n)
            if len(rows) == PART:
                self._flush(rows)
                rows = []
            self._stumble(n)
            if self._job.cancelled.is_set():
                raise Cancelled
        if rows:
            self._flush(rows)
        if self._mode == "full_refresh_overwrite":
            for key in previous:
                self._bucket.s3.delete_object(Bucket=self._bucket.name, Key=key)

    def _stumble(self, n: int) -> None:
        if n == self._config.get("hang_after"):
            while not (self._job.cancelled.wait(0.01) or self._job.resumed.is_set()):
                pass
        if n == self._config.get("fail_after"):
            failure = _failure(f"no more after {n}", "system_error", "source")
            raise Failed({**failure, **self._config.get("failure", {})})

    def _flush(self, rows: list[int]) -> None:
        records = [self._record(n) for n in rows]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(records, self._schema), buffer)
        body = buffer.getvalue()
        self._bucket.s3.put_object(
            Bucket=self._bucket.name, Key=f"{self._stem}{self._part}.parquet", Body=body
        )
        self._part += 1
        self._job.rows += len(rows)
        self._job.bytes += len(body)
        self._job.updated = time.time()
        self._state.stream_states[self._stream_key] = rows[-1]

    def _record(self, n: int) -> dict[str, Any]:
        odd = {"field": "odd", "change": "NULLED", "reason": "DESTINATION_TYPECAST_ERROR"}
        changes = [odd] if n == 3 and "odd" in self._schema.names else []
        return {
            "_airbyte_raw_id": str(uuid4()),
            "_airbyte_extracted_at": datetime.now(UTC),
            "_airbyte_meta": {"sync_id": self._job.id, "changes": changes},
            "_airbyte_generation_id": self._job.id,
            **self._values(n),
            **{name: number for number, name in enumerate(self._config.get("columns", ()))},
        }


def _toy(n: int) -> dict[str, Any]:
    return {
        "n": n,
        "at": datetime(2024, 2, 29, 12, tzinfo=UTC) + timedelta(seconds=0.5),
        "odd": None if n == 3 else n,
        "inner": f'{{"of":[{n}]}}',
    }


def _user(n: int) -> dict[str, Any]:
    return {"id": n, "name": f"User {n}", "age": 18 + n % 50}


def _safe(name: str) -> str:
    """Return the name as Airbyte's `Transformations.toS3SafeCharacters` does."""
    plain = "".join(
        c for c in unicodedata.normalize("NFKD", name) if unicodedata.category(c)[0] != "M"
    )
    return re.sub(r"[^a-zA-Z0-9/!_.*')(&$@=;:+,?-]", "_", plain)


def _failure(message: str, kind: str, origin: str) -> dict[str, Any]:
    return {
        "failureOrigin": origin,
        "failureType": kind,
        "externalMessage": message,
        "internalMessage": message,
        "retryable": kind != "config_error",
        "timestamp": int(time.time() * 1000),
    }
