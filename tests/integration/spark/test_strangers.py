"""Other pods cannot join an application. A real driver of `local-cluster` stands for one on
Kubernetes, where Spark makes the secret itself."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.data_transformation.engine import SparkJob, WriteMode
from app.data_transformation.kubernetes.manifest import manifest
from app.data_transformation.resources import SparkResources
from tests.conftest import Lakehouse
from tests.integration.servers.process import ServerProcess
from tests.integration.servers.spark import Spark, spark
from tests.integration.spark.operator_runs import common
from tests.patience import until_now

SECRET = "spark.authenticate.secret"
LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "600m",
    "spark.executor.memory": "500m",
}
DRIVER = """
import json, sys, time
from pyspark.sql import SparkSession
builder = SparkSession.builder.master("local-cluster[1,1,700]").appName("driver")
for name, value in json.load(open(sys.argv[1])).items():
    builder = builder.config(name, value)
context = builder.getOrCreate().sparkContext
total = context.parallelize(range(10), 2).sum()
told = {"port": context.getConf().get("spark.driver.port"), "total": total, "ui": context.uiWebUrl}
print("DRIVER " + json.dumps(told), flush=True)
context.parallelize(range(1), 1).foreach(lambda _: time.sleep(600))
"""
JAVA_OPTIONS = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.lang.invoke", "java.nio", "java.util", "sun.nio.ch")
]
REGISTERED = "Successfully registered with driver"


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Spark:
    return spark(tmp_path_factory.mktemp("image"))


def spark_conf(lakehouse: Lakehouse, **changes: bool) -> dict[str, str]:
    """Return the settings of a manifest that a test without catalog and cluster can use."""
    job = SparkJob(
        run_id="0123456789abcdef" * 2,
        sources=(),
        views=(),
        select="SELECT 1 AS id",
        tables=(),
        destination="silver.t",
        write_mode=WriteMode.APPEND,
        resources=SparkResources(),
    )
    body = manifest(job, common("spark", **changes), lakehouse.lake, None)
    conf: dict[str, str] = body["spec"]["sparkConf"]
    parts = ("spark.sql.catalog", "spark.sql.extensions", "spark.kubernetes")
    return {name: value for name, value in conf.items() if not name.startswith(parts)}


@contextmanager
def driver(spark: Spark, folder: Path, conf: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    package = Path(spark.environment({})["PYSPARK_PYTHON"]).parent.parent / "lib"
    [package] = package.glob("python*/site-packages/pyspark")
    home = folder / "spark"  # workers write into it
    home.mkdir()
    for part in package.iterdir():
        if part.name != "work":
            (home / part.name).symlink_to(part)
    (folder / "conf.json").write_text(json.dumps({**conf, **LOCAL, SECRET: "for-this-test"}))
    (folder / "driver.py").write_text(DRIVER)
    python = spark.environment({})["PYSPARK_PYTHON"]
    environment = {**spark.environment({}), "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1"}
    process = ServerProcess(
        [python, folder / "driver.py", folder / "conf.json"], folder=folder, env=environment
    )
    try:
        yield json.loads(until_now(lambda: _told(process.log), 120).removeprefix("DRIVER "))
    finally:
        process.stop()


def _told(log: Path) -> str | None:
    lines = log.read_text(errors="replace").splitlines()
    return next((line for line in lines if line.startswith("DRIVER ")), None)


def join(spark: Spark, folder: Path, port: str) -> str:
    """Join a driver as an executor without its secret, and return the executor's log."""
    [jars] = (spark.folder / "venv").glob("lib/python*/site-packages/pyspark/jars")
    command = ["java", "-Xmx600m", *JAVA_OPTIONS, "-cp", f"{jars}/*"]
    command += ["org.apache.spark.executor.CoarseGrainedExecutorBackend"]
    command += ["--driver-url", f"spark://CoarseGrainedScheduler@127.0.0.1:{port}"]
    command += ["--executor-id", "666", "--hostname", "127.0.0.1", "--bind-address", "127.0.0.1"]
    command += ["--cores", "1", "--app-id", "stranger", "--resourceProfileId", "0"]
    log = folder / "stranger.log"
    environment = {"PATH": os.environ["PATH"], "SPARK_LOCAL_IP": "127.0.0.1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        until_now(lambda: process.poll() is not None or REGISTERED in log.read_text(), 90)
    finally:
        process.kill()
        process.wait()
    return log.read_text()


def test_an_executor_without_the_secret_is_refused(
    distribution: Spark, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    with driver(distribution, tmp_path, spark_conf(lakehouse)) as told:
        assert told["total"] == 45  # its own executor works
        assert told["ui"] is None
        log = join(distribution, tmp_path, told["port"])
    assert REGISTERED not in log
    # The driver answers with an error and closes the connection. The executor may see either first,
    # or a broken pipe: its first question to the driver fails in all cases, after it connected.
    assert "Exception thrown in awaitResult" in log, log
    assert "Failed to connect to" not in log, log


def test_an_executor_joins_a_driver_without_authentication(
    distribution: Spark, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    """The proof that the test above can fail."""
    conf = spark_conf(lakehouse) | {
        "spark.authenticate": "false",
        "spark.network.crypto.enabled": "false",
    }
    with driver(distribution, tmp_path, conf) as told:
        assert REGISTERED in join(distribution, tmp_path, told["port"])


@pytest.mark.parametrize("kills", [False, True])
def test_the_page_of_metrics_comes_without_a_way_to_kill_jobs(
    distribution: Spark, lakehouse: Lakehouse, tmp_path: Path, kills: bool
) -> None:
    """With Spark's own default, the same page has one."""
    port = _free_port()
    conf = spark_conf(lakehouse, prometheus=True) | {"spark.ui.port": str(port)}
    if kills:
        conf["spark.ui.killEnabled"] = "true"
    with driver(distribution, tmp_path, conf), httpx.Client(timeout=60) as client:
        url = f"http://127.0.0.1:{port}"
        assert "metrics_executor" in client.get(f"{url}/metrics/executors/prometheus/").text
        until_now(lambda: "activeJob-table" in client.get(f"{url}/jobs/").text)
        page = client.get(f"{url}/jobs/").text
    assert ("/jobs/job/kill/" in page) is kills


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
