"""A warm Spark: runs jobs one after the other, each on a Sail server of its own.

    python -m app.data_transformation.worker

PySpark's imports take two seconds, a Sail server some milliseconds. A server keeps the catalog
token that it was started with, so each job gets a new one. Sail cannot replace a table or put a
run's id into a snapshot: a job is run into a staging table and published from there.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from app.data_transformation import job
from app.data_transformation.sail_errors import translated
from app.errors import EngineFailed, EngineUnreachable
from app.lakehouse.connection import Lake
from app.runs.failure import FailureCause
from app.worker_loop import Emit, Handlers, Message, serve

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog.rest import RestCatalog
    from pyiceberg.table import Table

PUBLISH_ATTEMPTS = 3
WARM_UP_BYTES = 2**28


def open_worker(hello: Message) -> Handlers:
    """Needs nothing but this machine: a catalog that is away fails a job, not the worker."""
    import app.warehouse.commit  # noqa: F401 — loads pyiceberg before it is waited for

    warnings.simplefilter("ignore", FutureWarning)  # PySpark on pandas, which nothing here uses
    lake = Lake.from_json(hello["lake"])
    with _session(_configuration(lake, WARM_UP_BYTES, token=None)) as spark:
        # The first analysis and the first result load what later ones find in memory.
        spark.createDataFrame(spark.sql("SELECT 1 AS warm").toArrow()).count()
    return {
        "run": partial(_run, lake),
        "publish": partial(_publish, lake, cache(lake.open_catalog)),
    }


def _run(lake: Lake, message: Message, emit: Emit) -> Message:
    from pyspark.errors import PySparkException

    with _reachable():
        configuration = _configuration(lake, message["memory_bytes"], _token(lake))
    with _session(configuration) as spark:
        try:
            columns = job.run(spark, message["job"], lambda line: emit({"log": line}))
        except job.JobError as error:
            raise EngineFailed(str(error), cause=FailureCause.SQL_ERROR) from error
        except PySparkException as error:
            emit({"log": f"{type(error).__name__}: {error}"})
            raise translated(type(error).__name__, str(error)) from error
        return {"columns": columns}


def _publish(
    lake: Lake, open_catalog: Callable[[], "RestCatalog"], message: Message, emit: Emit
) -> Message:
    """Staging becomes the target, or its rows are added to it, in one commit."""
    from app.warehouse.publish import append_table, replace_table

    publish = append_table if message["mode"] == "append" else replace_table
    with _reachable():
        catalog = open_catalog()
        staging = catalog.load_table(message["staging"])
        for left in reversed(range(PUBLISH_ATTEMPTS)):
            reader = _batches(staging)
            try:
                done = publish(catalog, message["target"], reader, run_id=message["run_id"])
                break
            except EngineFailed as error:
                # The rows do not depend on what another writer changed in between: repeat it.
                if not left or "changed_table" not in error.members:
                    raise
                emit({"commit_again": "stale"})
    published = done.model_copy(update={"catalog_ref": lake.catalog.ref})
    return published.model_dump(mode="json")


@contextmanager
def _reachable() -> Iterator[None]:
    import requests

    try:
        yield
    except (requests.ConnectionError, requests.Timeout) as error:
        raise EngineUnreachable("The catalog cannot be reached.", dependency="catalog") from error


def _batches(table: "Table") -> "pa.RecordBatchReader":
    """A fresh table's rows, a row group at a time. pyiceberg's scan holds whole files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def read() -> Iterator[pa.RecordBatch]:
        for task in table.scan().plan_files():
            with table.io.new_input(task.file.file_path).open() as file:
                for batch in pq.ParquetFile(file).iter_batches():
                    yield batch.select(schema.names).cast(schema)

    schema = table.schema().as_arrow()
    return pa.RecordBatchReader.from_batches(schema, read())


@contextmanager
def _session(configuration: dict[str, str]) -> Iterator[Any]:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    # Sail reads its configuration from the environment when a server is made.
    os.environ.update(configuration)
    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    try:
        _, port = server.listening_address
        spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
        try:
            yield spark
        finally:
            spark.stop()
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
    # JSON strings are TOML strings, which Sail wants here.
    catalog = ",".join(f"{key}={json.dumps(value)}" for key, value in options.items())
    environment = {
        "SAIL_CATALOG__LIST": f"[{{{catalog}}}]",
        "SAIL_CATALOG__DEFAULT_CATALOG": lake.catalog_name,
        "SAIL_RUNTIME__MEMORY_POOL__TYPE": "greedy",
        "SAIL_RUNTIME__MEMORY_POOL__GREEDY__MAX_SIZE": str(memory_bytes),
        "SAIL_RUNTIME__TEMPORARY_FILES__PATHS": json.dumps([tempfile.gettempdir()]),
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
    """A new one: Sail keeps it, and it must outlive the job."""
    from app.lakehouse.rest_catalog import ClientCredentials

    if lake.catalog.credential is None:
        return lake.catalog.token
    url = lake.catalog.oauth2_server_uri or f"{lake.catalog.uri.rstrip('/')}/v1/oauth/tokens"
    credentials = ClientCredentials(url, lake.catalog.credential)
    return credentials.auth_header().removeprefix("Bearer ")


if __name__ == "__main__":
    serve(open_worker)
