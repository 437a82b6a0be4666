"""The work of other processes in these tests, imported by name in a separate process."""

import asyncio
import multiprocessing
import os
from multiprocessing.connection import Connection
from uuid import uuid4

from pydantic import BaseModel

from app.errors import Conflict
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.records.state import Records
from app.lakehouse.records.table import RecordTable
from app.runs import supervisor
from tests.harnesses.runs import RowWriter, open_runs_harness, request

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "app.lakehouse.rest_catalog",
        "app.runs.service",
        "boto3",
        "psutil",
        "pyarrow.parquet",
        "pyiceberg.io.pyarrow",
        "pyiceberg.table",
    ]
)


class Named(BaseModel):
    name: str
    number: int = 0


def create_records(lake: str, kind: str, names: list[str], answer: Connection) -> None:
    """Create all at once. Answer with (id, name) for each, with None as id if the name was
    taken."""
    asyncio.run(_create_records(Lake.from_json(lake), kind, names, answer))


async def _create_records(lake: Lake, kind: str, names: list[str], answer: Connection) -> None:
    table = RecordTable(Catalog(lake), kind, Named, keys={"name": lambda doc: doc.name})

    async def create(name: str) -> tuple[str | None, str]:
        def check(doc: Named, records: Records[Named]) -> None:
            if records.with_key("name", doc.name):
                raise Conflict(name)

        record_id = str(uuid4())
        try:
            await table.insert(record_id, Named(name=name), f"process {os.getpid()}", check)
        except Conflict:
            return None, name
        return record_id, name

    answer.send(await asyncio.gather(*(create(name) for name in names)))


def serve_runs(lake: str, targets: list[str], answer: Connection) -> None:
    """Start a run of each target, report the acknowledged ids, and work until killed."""
    asyncio.run(_serve_runs(Lake.from_json(lake), targets, answer))


async def _serve_runs(lake: Lake, targets: list[str], answer: Connection) -> None:
    supervisor.IN_FLIGHT_SECONDS = 0.1
    harness = open_runs_harness(lake)
    service = harness.service(RowWriter(harness), max_running_per_engine=4)
    await service.open()
    answer.send("ready")

    async def start(target: str) -> None:
        started = await service.start(*request(target, spec={"seconds": 0.02}))
        answer.send(started.run.run_id)

    await asyncio.gather(*(start(target) for target in targets))
    await asyncio.Event().wait()
