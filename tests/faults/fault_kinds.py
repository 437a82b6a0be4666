"""Every kind of run, each with the required contents of its target after successful runs."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.faults import fault_source
from tests.faults.fault_gateway import Gateway
from tests.faults.fault_lake import LakeView

BASE = "silver.fault_base"
IDS = range(60)
FILE_ROWS = 300
REQUIREMENT = "airbyte-source-fault==1.0"

Body = dict[str, Any]
Request = Callable[[int], tuple[str, Body | None]]
Check = Callable[[LakeView, "Kind"], None]


@dataclass
class Kind:
    """`request(turn)` returns path and body of the turn's request. `succeeded` has the turns of the
    successful runs, in the order of the target's snapshots."""

    name: str
    target: str
    request: Request
    check: Check
    turns: int = 0
    seconds: float = 0.0
    """Seconds that one of its runs takes."""
    published: list[str] = field(default_factory=list)
    succeeded: list[int] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)

    def key(self, turn: int) -> str:
        return f"{self.name}-{turn}"

    async def ask(self, api: httpx.AsyncClient, turn: int) -> httpx.Response:
        path, body = self.request(turn)
        headers = {"Idempotency-Key": self.key(turn)}
        return await api.post(path, params={"wait_seconds": 0}, json=body, headers=headers)


def run_id_of(answer: httpx.Response) -> str:
    body = answer.json()
    return str(body.get("run_id") or body["run"]["run_id"])


def install_source(home: Path) -> None:
    """Put the source where the installer would put it. Other tests cover the installation."""
    digest = hashlib.sha256(f"{REQUIREMENT}\n".encode()).hexdigest()[:12]
    venv = home / "connectors" / f"fault-1.0-{digest}"
    program = venv / "bin" / "source-fault"
    program.parent.mkdir(parents=True)
    text = Path(fault_source.__file__).read_text().split("\n", 1)[1]
    program.write_text(f"#!{sys.executable}\n{text}")
    program.chmod(0o700)
    complete = json.dumps({"version": "1.0", "spec": fault_source.SPEC})
    (venv / ".complete").write_text(complete)


async def created(gateway: Gateway, path: str, body: Body) -> Body:
    answer = await gateway.api.post(path, json=body)
    assert answer.status_code == 201, answer.text
    found: Body = answer.json()
    return found


async def make_base(gateway: Gateway) -> None:
    """Create the silver table that all others are built from: `id` from 0, and as text."""
    sql = f"SELECT CAST(id AS INT) AS id, CAST(id AS STRING) AS name FROM range({len(IDS)})"
    answer = await gateway.api.post(
        "/spark/transform",
        params={"wait_seconds": 60},
        json={"sql": sql, "destination_table": BASE.partition(".")[2]},
    )
    assert answer.json()["status"] == "succeeded", answer.text


async def make_kinds(gateway: Gateway, data: Path) -> list[Kind]:
    """Create the kinds and what they need: sources, ingestions, a data product."""
    await make_base(gateway)
    file = data / "people.csv"
    file.write_text("n,name\n" + "".join(f"{n},row {n}\n" for n in range(FILE_ROWS)))
    sink = await created(gateway, "/airbyte/sink", {"name": "lake", "type": "s3"})
    ingestions = []
    for type_, config, streams in (
        ("file", {"url": str(file)}, None),
        ("fault", {}, [{"name": fault_source.STREAM, "sync_mode": "incremental_append"}]),
    ):
        source = await created(
            gateway, "/airbyte/datasource", {"name": type_, "type": type_, "config": config}
        )
        ingestion = {"name": type_, "sourceId": source["id"], "destinationId": sink["id"]}
        if streams:
            ingestion["streams"] = streams
        ingestions.append((await created(gateway, "/airbyte/ingestion", ingestion))["connectionId"])
    product = await created(
        gateway,
        "/data-products",
        {
            "name": "fault product",
            "description": "of the base",
            "data_product_type": "CUSTOM",
            "owner": "tests",
            "consumers": [],
            "update_frequency": "daily",
            "tags": [],
            "sql_query": f"SELECT id, name FROM {BASE}",
            "metadata": {},
        },
    )
    return [
        _ingestion("file", ingestions[0], _same_rows_as_the_file),
        _ingestion("connector", ingestions[1], _numbers_without_gap),
        _spark("spark-overwrite", "overwrite", _rows_of_the_last),
        _spark("spark-append", "append", _rows_of_each),
        _dbt("dbt-table", _rows_of_the_last, materialization="table"),
        _dbt(
            "dbt-append",
            _rows_of_each,
            materialization="incremental",
            incremental_strategy="append",
        ),
        _dbt(
            "dbt-merge",
            _newest_row_of_each_key,
            materialization="incremental",
            incremental_strategy="merge",
            unique_key=["id"],
        ),
        Kind(
            "data-product",
            f"gold.{product['table_name']}",
            lambda _: (f"/data-products/{product['id']}/run", None),
            _rows_of_the_product,
        ),
    ]


def _ingestion(name: str, ingestion_id: str, check: Check) -> Kind:
    return Kind(
        name,
        f"ingestion/{ingestion_id}",
        lambda _: (f"/airbyte/ingestion/{ingestion_id}/sync", None),
        check,
    )


def _spark(name: str, mode: str, check: Check) -> Kind:
    table = f"fault_{mode}"

    def request(turn: int) -> tuple[str, Body]:
        sql = f"SELECT CAST({turn} AS INT) AS turn, id FROM {BASE}"
        return "/spark/transform", {
            "sql": sql,
            "destination_table": table,
            "write_mode": mode,
        }

    return Kind(name, f"silver.{table}", request, check)


def _dbt(name: str, check: Check, **fields: Any) -> Kind:
    table = name.replace("-", "_")

    def request(turn: int) -> tuple[str, Body]:
        some = f" WHERE id % 3 = {turn % 3}" if name == "dbt-merge" else ""
        sql = f"SELECT {turn} AS turn, id FROM {BASE}{some}"
        return "/dbt/transform", {"name": table, "sql_query": sql, **fields}

    return Kind(name, f"gold.{table}", request, check)


def _turn_rows(lake: LakeView, kind: Kind) -> list[tuple[int, int]]:
    return sorted((row["turn"], row["id"]) for row in lake.rows(kind.target))


def _rows_of_the_last(lake: LakeView, kind: Kind) -> None:
    assert _turn_rows(lake, kind) == [(kind.succeeded[-1], n) for n in IDS]


def _rows_of_each(lake: LakeView, kind: Kind) -> None:
    assert _turn_rows(lake, kind) == [(turn, n) for turn in sorted(kind.succeeded) for n in IDS]


def _newest_row_of_each_key(lake: LakeView, kind: Kind) -> None:
    newest = {n: turn for turn in kind.succeeded for n in IDS if n % 3 == turn % 3}
    assert _turn_rows(lake, kind) == sorted((turn, n) for n, turn in newest.items())


def _rows_of_the_product(lake: LakeView, kind: Kind) -> None:
    rows = lake.rows(kind.target)
    assert sorted((row["id"], row["name"]) for row in rows) == [(n, str(n)) for n in IDS]
    assert len({row["data_product_updated_at"] for row in rows}) == 1


def _bronze(lake: LakeView, kind: Kind) -> Sequence[Body]:
    """Return the rows that readers see. No file may exist that the manifest does not name, and only
    retired files may be gone, since a commit deletes them before it is made."""
    manifest = lake.manifest(kind.target.partition("/")[2])
    named = {file["key"] for s in manifest["streams"].values() for file in s["files"]}
    pending = (manifest["pending"] or {}).get("files", {})
    named |= {file["key"] for files in pending.values() for file in files}
    lying = {key for path in manifest["streams"] for key in lake.keys(f"{path}/")}
    lying -= set(manifest["retired"])
    assert lying == named, f"{kind.name}: {sorted(lying ^ named)}"
    return lake.bronze_rows(manifest)


def _same_rows_as_the_file(lake: LakeView, kind: Kind) -> None:
    assert sorted(int(row["n"]) for row in _bronze(lake, kind)) == list(range(FILE_ROWS))


def _numbers_without_gap(lake: LakeView, kind: Kind) -> None:
    count = fault_source.ROWS * len(kind.succeeded)
    assert sorted(row["n"] for row in _bronze(lake, kind)) == list(range(1, count + 1))


def published_run_ids(lake: LakeView, kind: Kind) -> list[str]:
    """Return the run ids of the target's whole visible history, oldest first."""
    if not kind.target.startswith("ingestion/"):
        return lake.run_ids(kind.target)
    manifest = lake.manifest(kind.target.partition("/")[2])
    return [commit["run_id"] for commit in manifest["commits"]]
