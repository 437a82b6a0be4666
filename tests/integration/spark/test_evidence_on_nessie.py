"""The evidence of a run on Nessie, which shows only the newest snapshot of a table."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest

from app.config import Settings
from app.data_transformation.sail.engine import SparkConnectEngine
from app.failure import FailureCause
from app.lakehouse.external import external_lakehouse
from app.lakehouse.publish.publish import append_table
from app.lakehouse.storage import open_client
from app.runs.commits import HEAD, RunTarget
from app.runs.handler import ReconciledAsFailed
from app.runs.model import Run, RunKind, RunState
from app.warehouse.engine import ModelSpec
from tests.conftest import Lakehouse
from tests.harnesses.warehouse import warehouse_harness
from tests.integration.servers.nessie import Nessie, start_nessie
from tests.integration.spark.operator_runs import operator_runs
from tests.kubernetes_standin import NAMESPACE, KubernetesStandIn, kubernetes_standin, terminated

BUCKET = "evidence"
ROWS = pa.table({"id": [1]})


@pytest.fixture(scope="module")
def nessie(servers_folder: Path, lakehouse: Lakehouse) -> Iterator[Nessie]:
    open_client(lakehouse.lake.s3).create_bucket(Bucket=BUCKET)
    server = start_nessie(servers_folder / "nessie-evidence", lakehouse.lake.s3)
    yield server
    server.stop()


@pytest.fixture(scope="module")
async def lake(
    tmp_path_factory: pytest.TempPathFactory, lakehouse: Lakehouse, nessie: Nessie
) -> AsyncIterator[Lakehouse]:
    s3 = lakehouse.lake.s3
    settings = Settings(
        _env_file=None,
        asgard_home=tmp_path_factory.mktemp("evidence"),
        asgard_embedded=frozenset({"ingestion", "spark", "sql"}),
        s3_bucket=BUCKET,
        s3_endpoint=s3.endpoint,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        nessie_uri=nessie.uri,
    )
    async with external_lakehouse(settings) as lake:
        yield Lakehouse.of(settings, lake)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KubernetesStandIn]:
    with kubernetes_standin(tmp_path / "kubeconfig") as standin:
        yield standin


async def append(lake: Lakehouse, table: str, run_id: str) -> None:
    await lake.catalog.run(
        lambda catalog: append_table(catalog, table, ROWS.to_reader(), run_id=run_id)
    )


@pytest.mark.parametrize("writers", ["nobody", "the run", "the run, then another"])
async def test_only_a_snapshot_of_the_run_is_a_success(
    lake: Lakehouse, cluster: KubernetesStandIn, tmp_path: Path, writers: str
) -> None:
    table = f"ev_{len(writers)}"
    async with operator_runs(lake, tmp_path / "kubeconfig", NAMESPACE) as runs:
        run = await runs.start(table)
        await runs.until(run, "SparkApplicationCreated")
        if "run" in writers:
            await append(lake, run.target, run.run_id)
        if "another" in writers:
            await append(lake, run.target, "of-another-writer")
            target = RunTarget(lake.catalog, hides_history=True)
            assert await target.published(run.target, run.run_id) is None
        name = f"sql-exec-{run.run_id}"
        cluster.driver(name, "Succeeded", state=terminated(0, "Completed"))
        cluster.state(name, "COMPLETED")
        ended = await runs.ended(run)
    if writers == "the run":
        assert ended.state is RunState.SUCCEEDED, ended.failure
        assert ended.output is not None
        assert (ended.output.rows, ended.output.catalog_ref) == (1, "main")
    else:
        assert ended.failure is not None
        retryable = writers == "nobody"
        assert (ended.failure.cause, ended.failure.retryable) == (FailureCause.LOST, retryable)


async def test_a_build_of_duckdb_that_another_writer_hides_is_not_reported_as_undone(
    lake: Lakehouse, tmp_path: Path
) -> None:
    async with warehouse_harness(lake, tmp_path) as harness:
        run = await harness.built("ev_duckdb", "SELECT 1 AS id")
        spec = ModelSpec.model_validate(run.spec)
        assert await harness.engine.reconcile(spec, run) is not None
        await append(lake, run.target, "of-another-writer")
        with pytest.raises(ReconciledAsFailed, match="It is not known"):
            await harness.engine.reconcile(spec, run)


async def test_a_job_of_sail_that_another_writer_hides_is_not_reported_as_undone(
    lake: Lakehouse, tmp_path: Path
) -> None:
    engine = SparkConnectEngine(
        sail_lake=lake.lake,
        publisher_lake=lake.lake,
        store=lake.store,
        catalog=lake.catalog,
        home=tmp_path,
    )
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    run = Run(
        run_id=uuid4().hex,
        kind=RunKind.SPARK,
        target="silver.ev_sail",
        created_at=moment,
        started_at=moment,
        created_by="test",
        engine={HEAD: None},
    )
    assert await engine.reconcile(run) is None
    await append(lake, run.target, run.run_id)
    assert await engine.reconcile(run) is not None
    await append(lake, run.target, "of-another-writer")
    with pytest.raises(ReconciledAsFailed, match="It is not known"):
        await engine.reconcile(run)
    await engine.close()
