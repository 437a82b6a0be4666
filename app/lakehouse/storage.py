"""Objects in the lake's bucket, with the conditional writes that runs and locks are built on."""

import asyncio
import hashlib
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import anyio.to_thread

from app.disk import require_room
from app.errors import EngineFailed, EngineUnreachable
from app.failure import FailureCause
from app.lakehouse.connection import S3Connection
from app.lakehouse.listeners import is_ours
from app.lakehouse.s3_metrics import watch
from app.lakehouse.timeouts import CONNECT_TIMEOUT
from app.telemetry.calls import SILENT, Telemetry

T = TypeVar("T")

CONCURRENCY = 16
ATTEMPTS = 2
RETRY_AFTER = 0.1
DELETE_BATCH = 1000
GONE = frozenset({"NoSuchKey", "404", "NotFound"})
LOST_RACE = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


class PreconditionFailed(Exception):
    """The object is not in the expected state. Read it again."""


@dataclass(frozen=True)
class ObjectInfo:
    key: str
    size: int
    etag: str
    last_modified: datetime


@dataclass(frozen=True)
class StoredObject:
    key: str
    body: bytes
    etag: str
    last_modified: datetime
    answered_at: datetime
    """The server's own time, so that `answered_at - last_modified` does not depend on local
    clocks."""


class ObjectStore:
    """Reads and writes objects, with keys relative to the bucket. Raises `EngineUnreachable` while
    S3 cannot be reached.

    One boto3 client (they are thread-safe) runs in at most `CONCURRENCY` threads. boto3's own
    retries are off: it would repeat a conditional write that succeeded, and report a lost race.
    """

    def __init__(self, connection: S3Connection, telemetry: Telemetry = SILENT) -> None:
        self.bucket = connection.bucket
        self._connection = connection
        self._telemetry = telemetry
        self._limiter = anyio.CapacityLimiter(CONCURRENCY)
        self._opening = threading.Lock()
        self._client: Any = None
        self._writing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def waiting(self) -> int:
        """Return the number of calls that wait for a thread."""
        return self._limiter.statistics().tasks_waiting

    async def get(self, key: str) -> StoredObject | None:
        return await self._run(lambda s3: _get(s3, self.bucket, key))

    async def put(
        self, key: str, body: bytes, content_type: str = "application/octet-stream"
    ) -> str:
        """Write the object, whether or not it exists. Return the new etag."""

        def write(s3: Any) -> str:
            return _put(s3, self.bucket, key, body, {"ContentType": content_type})

        return await self._run(write)

    async def create(self, key: str, body: bytes) -> str:
        """Create the object. Raises `PreconditionFailed` if it exists. Of several writers, one
        wins.

        The body has to identify its writer (an id, an owner): after a timeout the object is read
        again, and the write counts as done if it has exactly this body.
        """
        return await self._write_if(key, body, {"IfNoneMatch": "*"})

    async def replace(self, key: str, body: bytes, etag: str) -> str:
        """Replace the object. Raises `PreconditionFailed` unless it has this etag. See `create`."""
        return await self._write_if(key, body, {"IfMatch": etag})

    async def delete(self, key: str) -> None:
        """Delete the object, if it exists."""
        await self._run(lambda s3: s3.delete_object(Bucket=self.bucket, Key=key))

    async def delete_many(self, keys: Iterable[str]) -> None:
        all_keys = list(keys)
        for start in range(0, len(all_keys), DELETE_BATCH):
            batch = all_keys[start : start + DELETE_BATCH]
            await self._run(partial(_delete_batch, bucket=self.bucket, keys=batch))

    async def list(self, prefix: str) -> list[ObjectInfo]:
        return await self._run(lambda s3: _list(s3, self.bucket, prefix))

    async def upload(self, path: Path, key: str) -> None:
        """Upload a file of any size, in parts if it is large."""
        await self._run(lambda s3: _upload(s3, path, self.bucket, key))

    async def download(self, key: str, path: Path) -> bool:
        """Write the object into a file. Return False if there is no such object. Raises
        `EngineFailed` when the disk is full but for its reserve."""
        return await self._run(lambda s3: _download(s3, self.bucket, key, path))

    async def close(self) -> None:
        with self._opening:
            client, self._client = self._client, None
        if client is not None:
            await anyio.to_thread.run_sync(client.close)

    async def _write_if(self, key: str, body: bytes, condition: Mapping[str, str]) -> str:
        """Write one at a time per key: SeaweedFS makes concurrent writers wait for whole
        seconds."""
        async with self._writing.setdefault(key, asyncio.Lock()):
            return await self._run(
                lambda s3: _put_if(s3, self.bucket, key, body, condition), attempts=1
            )

    async def _run(self, call: Callable[[Any], T], attempts: int = ATTEMPTS) -> T:
        return await anyio.to_thread.run_sync(self._attempt, call, attempts, limiter=self._limiter)

    def _attempt(self, call: Callable[[Any], T], attempts: int) -> T:
        """Call S3. A read timeout is not retried, because the caller has waited long enough."""
        from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

        client = self._open()
        for remaining in reversed(range(attempts)):
            try:
                return call(client)
            except (BotoCoreError, ClientError) as error:
                if remaining and _is_transient(error) and not isinstance(error, ReadTimeoutError):
                    time.sleep(RETRY_AFTER)
                    continue
                raise _translated(error, self.bucket) from error
        raise AssertionError("unreachable")

    def _open(self) -> Any:
        with self._opening:
            if self._client is None:
                self._client = open_client(self._connection)
                watch(self._client, self._telemetry)
            return self._client


def open_client(connection: S3Connection, service: str = "s3") -> Any:
    """Return a boto3 client with short timeouts and no retries of its own."""
    import boto3
    import botocore.session
    from botocore.config import Config

    core = botocore.session.get_session()
    # botocore's own parser guesses the format of each time, which is half the cost of a listing.
    parsers = core.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_time_of)
    config = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=connection.read_timeout,
        retries={"total_max_attempts": 1},
        max_pool_connections=CONCURRENCY,
        s3={"addressing_style": "path" if connection.endpoint else "auto"},
        signature_version="s3v4" if service == "s3" else "v4",
        # A proxy of the environment would get what is meant for a server of this user.
        proxies={} if connection.own_user else None,
        # Checksum trailers are new in S3. Some compatible servers do not know them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client = boto3.session.Session(botocore_session=core).client(
        service,
        endpoint_url=connection.endpoint,
        region_name=connection.region,
        aws_access_key_id=connection.access_key,
        aws_secret_access_key=connection.secret_key,
        config=config,
    )
    if connection.own_user:
        client.meta.events.register("before-send", _require_own_server)
    return client


def _require_own_server(request: Any, **_: Any) -> None:
    from botocore.exceptions import EndpointConnectionError

    if not is_ours(request.url):
        raise EndpointConnectionError(endpoint_url=request.url)


def _time_of(value: Any) -> datetime:
    from botocore.utils import parse_timestamp

    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        parsed: datetime = parse_timestamp(value)
        return parsed


def _get(s3: Any, bucket: str, key: str) -> StoredObject | None:
    from botocore.exceptions import ClientError

    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if _code(error) in GONE:
            return None
        raise
    return StoredObject(
        key=key,
        body=answer["Body"].read(),
        etag=answer["ETag"],
        last_modified=answer["LastModified"],
        answered_at=_server_time(answer["ResponseMetadata"]["HTTPHeaders"]),
    )


def _put(s3: Any, bucket: str, key: str, body: bytes, options: Mapping[str, str]) -> str:
    """Write with a checksum, so that the write is all or nothing: SeaweedFS stores an empty object
    when a writer is killed between the headers and the body."""
    md5 = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    answer = s3.put_object(Bucket=bucket, Key=key, Body=body, ContentMD5=md5, **options)
    etag: str = answer["ETag"]
    return etag


def _put_if(s3: Any, bucket: str, key: str, body: bytes, condition: Mapping[str, str]) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return _put(s3, bucket, key, body, condition)
    except ClientError as error:
        code = _code(error)
        if code in LOST_RACE or (code in GONE and "IfMatch" in condition):
            raise PreconditionFailed(key) from error
        if not _is_transient(error):
            raise
        unknown: Exception = error
    except BotoCoreError as error:
        unknown = error
    # Without an answer, only the current object shows whether the write succeeded.
    current = _get(s3, bucket, key)
    if current is not None and current.body == body:
        return current.etag
    if current is None and "IfMatch" not in condition:
        raise unknown
    if current is not None and current.etag == condition.get("IfMatch"):
        raise unknown
    raise PreconditionFailed(key) from unknown


def _delete_batch(s3: Any, bucket: str, keys: list[str]) -> None:
    answer = s3.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
    )
    if errors := answer.get("Errors"):
        first = errors[0]
        raise EngineFailed(
            f"S3 did not delete {len(errors)} objects, the first {first.get('Key')}: "
            f"{first.get('Message')}"
        )


def _list(s3: Any, bucket: str, prefix: str) -> list[ObjectInfo]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [
        ObjectInfo(item["Key"], item["Size"], item["ETag"], item["LastModified"])
        for page in pages
        for item in page.get("Contents", ())
    ]


def _upload(s3: Any, path: Path, bucket: str, key: str) -> None:
    from boto3.exceptions import S3UploadFailedError
    from boto3.s3.transfer import TransferConfig

    parts = TransferConfig(multipart_threshold=64 * 1024**2, max_concurrency=4)
    try:
        s3.upload_file(str(path), bucket, key, Config=parts)
    except S3UploadFailedError as error:
        # boto3 wraps every failure of an upload, even a refusal that no retry would change.
        raise _translated(error.__context__ or error, bucket) from error


def _download(s3: Any, bucket: str, key: str, path: Path) -> bool:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import ClientError

    try:
        s3.download_file(
            bucket, key, str(path), Callback=lambda chunk: require_room(path.parent, chunk)
        )
    except Boto3Error as error:
        raise EngineUnreachable(f"S3 did not send {key}: {error}", dependency="s3") from error
    except ClientError as error:
        if _code(error) in GONE:
            return False
        raise
    return True


def _server_time(headers: Mapping[str, str]) -> datetime:
    date = headers.get("date")
    return parsedate_to_datetime(date).astimezone(UTC) if date else datetime.now(UTC)


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _is_transient(error: Exception) -> bool:
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return bool(status >= 500 or status == 429)
    return isinstance(error, (ConnectionError, HTTPClientError))


def _translated(error: Exception, bucket: str) -> Exception:
    if _is_transient(error):
        return EngineUnreachable(f"S3 cannot be reached: {error}", dependency="s3")
    code = _code(error) if hasattr(error, "response") else ""
    denied = code in {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
    return EngineFailed(
        f"S3 refused a request for bucket {bucket}: {error}",
        cause=FailureCause.PERMISSION_DENIED if denied else FailureCause.INTERNAL,
    )
