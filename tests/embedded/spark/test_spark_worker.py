"""A Spark worker keeps nothing of the jobs that it has run."""

import asyncio
import json
import os
import sys
from pathlib import Path

from app.data_transformation.sail.engine import WORKER_ENVIRONMENT
from tests.conftest import Lakehouse
from tests.ports import free_port

JOBS = 4
COUNT = """
import gc, json, sys
from pathlib import Path
from app.data_transformation.sail.worker import JobWorker
from app.lakehouse.connection import Lake

given = json.load(sys.stdin)
worker = JobWorker(Lake.from_json(given["lake"]), Path(given["folder"]), given["port"])
for _ in range(given["jobs"]):
    worker.warm_up()
    gc.collect()
    clients = [o for o in gc.get_objects() if type(o).__name__ == "SparkConnectClient"]
    print(len(clients))
"""


async def test_a_long_running_worker_does_not_accumulate_clients(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    script = tmp_path / "count.py"  # PySpark looks for more than it needs in one without a file
    script.write_text(COUNT)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        script,
        cwd=Path(__file__).parents[3],
        env={**os.environ, **WORKER_ENVIRONMENT, "PYTHONPATH": "."},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    given = {
        "lake": lakehouse.sail_lake.to_json(),
        "folder": str(tmp_path),
        "port": free_port(),
        "jobs": JOBS,
    }
    output, _ = await process.communicate(json.dumps(given).encode())
    assert output.decode().split() == ["0"] * JOBS
