"""A warm Spark that runs jobs one after the other, each on a separate Sail server.

    python -m app.data_transformation.sail.worker

PySpark's imports take two seconds, a Sail server some milliseconds. A server keeps the catalog
token that it was started with, so each job gets a new one. This process can read the lake, but
cannot change it: it writes a job's rows into a file for the publisher.
"""

import atexit
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.data_transformation import job
from app.data_transformation.sail.errors import translated
from app.disk import room
from app.errors import EngineFailed, EngineUnreachable
from app.failure import FailureCause
from app.lakehouse.connection import Lake
from app.lakehouse.publish.result_file import discard_result, write_result
from app.processes.worker_main import Emit, Handlers, Message, serve

if TYPE_CHECKING:
    import pyarrow as pa

WARM_UP_BYTES = 2**28


def open_worker(handshake: Message) -> Handlers:
    """Open the worker without the network. An unreachable catalog fails a job, not the worker."""
    import app.lakehouse.rest_catalog  # noqa: F401 — loads what a token needs before it is waited for

    warnings.simplefilter("ignore", FutureWarning)  # PySpark on pandas, which nothing here uses
    worker = JobWorker(
        Lake.from_json(handshake["lake"]), Path(handshake["folder"]), handshake["port"]
    )
    worker.warm_up()
    return {"run": worker.run, "discard": worker.discard}


class JobWorker:
    """Computes jobs. The publisher takes the rows from `folder`, the worker's own. The sandbox
    lets Sail listen on `port` only."""

    def __init__(self, lake: Lake, folder: Path, port: int) -> None:
        self._lake = lake
        self._folder = folder
        self._port = port

    def warm_up(self) -> None:
        """Analyse and run one query, which loads what later ones find in memory."""
        configuration = _configuration(self._lake, WARM_UP_BYTES, token=None)
        with _session(configuration, self._port) as spark:
            spark.createDataFrame(spark.sql("SELECT 1 AS warm").toArrow()).count()

    def run(self, message: Message, emit: Emit) -> Message:
        """`{job, memory_bytes}`: compute the job's rows and write them into the worker's file."""
        from pyspark.errors import PySparkException

        discard_result(self._folder)
        with _reachable():
            configuration = _configuration(self._lake, message["memory_bytes"], _token(self._lake))
        with _session(configuration, self._port) as spark:
            try:
                frame = job.compute(spark, message["job"], lambda line: emit({"log": line}))
                schema, batches = _streamed(spark, frame)
                write_result(self._folder, schema, batches)
            except job.JobError as error:
                raise EngineFailed(str(error), cause=FailureCause.SQL_ERROR) from error
            except PySparkException as error:
                emit({"log": f"{type(error).__name__}: {error}"})
                raise translated(type(error).__name__, str(error)) from error
        return {}

    def discard(self, _: Message, __: Emit) -> Message:
        """Free the disk space of rows that are published."""
        discard_result(self._folder)
        return {}


def _streamed(spark: Any, frame: Any) -> "tuple[pa.Schema, Iterator[pa.RecordBatch]]":
    """Return the rows as Sail computes them: `toArrow` would hold all of them in memory. A result
    without rows still has a batch."""
    import pyarrow as pa

    answers = spark.client.to_table_as_iterator(frame._plan.to_proto(spark.client), {})
    tables = (answer for answer in answers if isinstance(answer, pa.Table))
    first = next(tables)
    return first.schema, (batch for table in chain([first], tables) for batch in table.to_batches())


@contextmanager
def _reachable() -> Iterator[None]:
    import requests

    try:
        yield
    except (requests.ConnectionError, requests.Timeout) as error:
        raise EngineUnreachable("The catalog cannot be reached.", dependency="catalog") from error


@contextmanager
def _session(configuration: dict[str, str], port: int) -> Iterator[Any]:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    # Sail reads its configuration from the environment when a server is created.
    os.environ.update(configuration)
    server = SparkConnectServer("127.0.0.1", port)
    server.start(background=True)
    try:
        spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
        # This is for unreliable networks, and costs one more request for each batch of rows.
        spark.client.disable_reattachable_execute()
        try:
            yield spark
        finally:
            spark.stop()
            # Otherwise, the interpreter keeps the client and its channel until it ends.
            atexit.unregister(spark.client._on_exit)
    finally:
        server.stop()


def _configuration(lake: Lake, memory_bytes: int, token: str | None) -> dict[str, str]:
    options = {
        "name": lake.catalog_name,
        "type": "iceberg-rest",
        "uri": lake.catalog.uri,
    }
    if lake.catalog.warehouse:
        options["warehouse"] = lake.catalog.warehouse
    if token:
        options["oauth_access_token"] = token
    # JSON strings are TOML strings, which Sail expects here.
    catalog = ",".join(f"{key}={json.dumps(value)}" for key, value in options.items())
    environment = {
        "SAIL_CATALOG__LIST": f"[{{{catalog}}}]",
        "SAIL_CATALOG__DEFAULT_CATALOG": lake.catalog_name,
        "SAIL_RUNTIME__MEMORY_POOL__TYPE": "greedy",
        "SAIL_RUNTIME__MEMORY_POOL__GREEDY__MAX_SIZE": str(memory_bytes),
        "SAIL_RUNTIME__TEMPORARY_FILES__PATHS": json.dumps([tempfile.gettempdir()]),
        "SAIL_RUNTIME__TEMPORARY_FILES__MAX_SIZE": str(room(Path(tempfile.gettempdir()))),
        "AWS_REGION": lake.s3.region,
    }
    if lake.s3.access_key and lake.s3.secret_key:
        environment["AWS_ACCESS_KEY_ID"] = lake.s3.access_key
        environment["AWS_SECRET_ACCESS_KEY"] = lake.s3.secret_key
    if endpoint := lake.s3.endpoint:
        environment |= {
            "AWS_ENDPOINT": endpoint,
            "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower(),
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        }
    return environment


def _token(lake: Lake) -> str | None:
    """Return a new token. Sail retains it, and it must outlive the job."""
    from app.lakehouse.rest_catalog import CatalogCredentials

    if lake.catalog.credential is None or lake.catalog.signs_tokens:
        return lake.catalog.worker_token()
    credentials = CatalogCredentials(lake.catalog.token_url, lake.catalog.credential)
    return credentials.auth_header().removeprefix("Bearer ")


if __name__ == "__main__":
    serve(open_worker)
