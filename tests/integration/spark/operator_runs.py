"""Runs on the Spark operator's adapter without the rest of a gateway, for tests without Spark."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.caller import ANONYMOUS
from app.data_transformation.engine import SparkWork, WriteMode
from app.data_transformation.kubernetes.api import KubernetesApi
from app.data_transformation.kubernetes.engine import SparkOperatorEngine
from app.data_transformation.kubernetes.manifest import SparkSettings
from app.data_transformation.resources import SparkResources
from app.data_transformation.run_handler import SparkRunHandler
from app.data_transformation.source_files import SourceResolver
from app.lakehouse.bronze.manifests import BronzeManifests
from app.runs.model import Run, RunKind
from app.runs.service import RunService
from app.runs.submission import RunRequest, Submission
from tests.conftest import Lakehouse
from tests.no_views import NoViews

SECONDS = 40


@dataclass
class Runs:
    engine: SparkOperatorEngine
    service: RunService

    async def start(
        self,
        table: str,
        select: str = "SELECT 1 AS id",
        write_mode: WriteMode = WriteMode.OVERWRITE,
    ) -> Run:
        work = SparkWork(
            sql=select,
            source_path=None,
            destination=f"silver.{table}",
            write_mode=write_mode,
            readings=(),
            views=(),
            select=select,
            tables=(),
            resources=SparkResources(),
        )
        request = RunRequest(
            kind=RunKind.SPARK,
            target=work.destination,
            spec=work.model_dump(mode="json"),
        )
        return (await self.service.start(request, Submission(ANONYMOUS))).run

    async def ended(self, run: Run) -> Run:
        ended = await self.service.wait(run.run_id, SECONDS)
        assert ended.state.is_terminal, ended
        return ended

    async def until(self, run: Run, *reasons: str) -> Run:
        """Wait until the run has an event with one of these reasons."""
        async with asyncio.timeout(SECONDS):
            while True:
                now = await self.service.get(run.run_id)
                if {event.reason for event in now.events} & set(reasons):
                    return now
                assert not now.state.is_terminal, now.failure
                await asyncio.sleep(0.02)


def common(namespace: str, **changes: Any) -> SparkSettings:
    fields: dict[str, Any] = {
        "namespace": namespace,
        "image": "registry.example/spark:1",
        "version": "3.5.9",
        "service_account": "spark-sa",
        "secret_name": "s3-credentials",
        "ttl": 3600,
        "retries": 1,
        "dynamic_allocation": False,
        "prometheus": False,
        "hides_history": True,
        **changes,
    }
    return SparkSettings(**fields)


@asynccontextmanager
async def operator_runs(
    lakehouse: Lakehouse,
    kubeconfig: Path,
    namespace: str,
    *,
    submit_timeout: float = 30,
    **changes: Any,
) -> AsyncIterator[Runs]:
    store, catalog = lakehouse.store, lakehouse.catalog
    engine = SparkOperatorEngine(
        lake=lakehouse.lake,
        store=store,
        catalog=catalog,
        api=KubernetesApi(namespace, in_cluster=False, kubeconfig=kubeconfig),
        settings=common(namespace, **changes),
        submit_timeout=submit_timeout,
        run_timeout=120,
    )
    engine.open()
    service = RunService(
        store=store,
        catalog=catalog,
        settings=lakehouse.settings,
        handlers={
            RunKind.SPARK: SparkRunHandler(
                engine, catalog, SourceResolver(store, BronzeManifests(store)), NoViews()
            )
        },
    )
    await service.open()
    try:
        yield Runs(engine, service)
    finally:
        await service.close(grace=1)
        await engine.close()
