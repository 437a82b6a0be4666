"""Commits that workers make again are counted by their gateway, which alone is scraped."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pydantic import SecretStr

from app.config import Settings
from app.lakehouse.connection import Lake
from app.lakehouse.embedded.lakehouse import embedded_lakehouse
from app.runs.owned_run import OwnedRun
from tests.harnesses.gateway import GatewayHarness, gateway_harness
from tests.http_server import Asked, serving
from tests.scrapes import counted

PASSED_ON = ("authorization", "content-type", "x-iceberg-access-delegation")


@dataclass
class Catalog:
    """A way to the real one. A commit to a table that is in `overtaken` finds that somebody else
    was first, as often as that says."""

    real: str
    overtake: Callable[[str], None]
    overtaken: dict[str, int] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)

    def answer(self, asked: Asked) -> tuple[int, object]:
        table = asked.path.rpartition("/tables/")[2]
        if asked.method == "POST" and table in self.overtaken:
            self.commits.append(table)
            if self.overtaken[table] > 0:
                self.overtaken[table] -= 1
                self.overtake(table)
        headers = {name: value for name in PASSED_ON if (value := asked.headers.get(name))}
        answer = httpx.request(
            asked.method, self.real + asked.path, headers=headers, content=asked.body, timeout=30
        )
        return answer.status_code, answer.json() if answer.content else {}


@contextmanager
def on_the_way_to(lake: Lake) -> Iterator[tuple[Catalog, str]]:
    """With its address."""
    url = httpx.URL(lake.catalog.uri)

    def overtake(table: str) -> None:
        schema = "gold" if table.startswith("cr_gold") else "silver"
        rows = pa.table({"n": pa.array([7], pa.int32())})
        lake.open_catalog().load_table(f"{schema}.{table}").append(rows)

    catalog = Catalog(str(url.copy_with(raw_path=b"/")).rstrip("/"), overtake)
    with serving(catalog.answer) as port:
        yield catalog, f"http://127.0.0.1:{port}{url.path.rstrip('/')}"


@dataclass(frozen=True)
class RetriesHarness:
    gateway: GatewayHarness
    catalog: Catalog
    lake: Lake

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = await self.gateway.client.post(
            f"/api/v1{path}", params={"wait_seconds": 60}, json=body
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def retries(self) -> dict[tuple[str, ...], float]:
        text = (await self.gateway.client.get("/metrics")).text
        return counted(text, "asgard_commit_retries_total", "table", "reason")

    def rows(self, table: str) -> list[int]:
        found = self.lake.open_catalog().load_table(table).scan().to_arrow()
        return sorted(found["n"].to_pylist())


@pytest.fixture(scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RetriesHarness]:
    """A gateway, and its workers, that reach the catalog by the way round."""
    home: Path = tmp_path_factory.mktemp("retries")
    async with embedded_lakehouse(Settings(_env_file=None, asgard_home=home / "lake")) as found:
        lake = found.lake
        await found.catalog.ensure_namespaces()
        with on_the_way_to(lake) as (catalog, url):
            settings = Settings(
                _env_file=None,
                asgard_home=home / "gateway",
                asgard_embedded="ingestion,spark,sql",
                s3_bucket=lake.s3.bucket,
                s3_endpoint=lake.s3.endpoint,
                aws_access_key_id=lake.s3.access_key,
                aws_secret_access_key=SecretStr(lake.s3.secret_key or ""),
                iceberg_rest_uri=url,
                iceberg_rest_warehouse=lake.catalog.warehouse,
                iceberg_rest_credential=SecretStr(lake.catalog.credential or ""),
            )
            async with gateway_harness(settings) as opened:
                yield RetriesHarness(opened, catalog, lake)


async def test_a_dbt_worker_that_comes_second_commits_again_and_is_counted(
    harness: RetriesHarness,
) -> None:
    await harness.post("/dbt/transform", name="cr_gold", sql_query="SELECT 1 AS n")
    before = await harness.retries()
    harness.catalog.overtaken["cr_gold"] = 2
    done = await harness.post("/dbt/transform", name="cr_gold", sql_query="SELECT 2 AS n")
    assert (done["status"], done["row_count"]) == ("completed", 1), done
    assert harness.catalog.commits.count("cr_gold") == 3
    after = await harness.retries()
    assert after["published", "stale"] - before.get(("published", "stale"), 0) == 2
    assert harness.rows("gold.cr_gold") == [2]


async def test_a_spark_worker_that_comes_second_commits_again_and_is_counted(
    harness: RetriesHarness,
) -> None:
    spark = {"destination_table": "cr_silver", "write_mode": "append"}
    assert (await harness.post("/spark/transform", sql="SELECT 1 AS n", **spark))["status"]
    before = await harness.retries()
    harness.catalog.overtaken["cr_silver"] = 1
    done = await harness.post("/spark/transform", sql="SELECT 2 AS n", **spark)
    assert done["status"] == "succeeded", done
    assert harness.catalog.commits.count("cr_silver") == 2
    after = await harness.retries()
    assert after["published", "stale"] - before.get(("published", "stale"), 0) == 1
    assert harness.rows("silver.cr_silver") == [1, 2, 7]


async def test_a_worker_that_is_always_second_gives_up_and_says_so(harness: RetriesHarness) -> None:
    await harness.post("/dbt/transform", name="cr_gold_never", sql_query="SELECT 1 AS n")
    before = await harness.retries()
    harness.catalog.overtaken["cr_gold_never"] = 9
    done = await harness.post("/dbt/transform", name="cr_gold_never", sql_query="SELECT 2 AS n")
    assert done["status"] == "failed"
    assert "Another writer changed" in done["error_message"]
    assert harness.catalog.commits.count("cr_gold_never") == 3
    after = await harness.retries()
    assert after["published", "stale"] - before.get(("published", "stale"), 0) == 2
    assert harness.rows("gold.cr_gold_never") == [1, 7, 7, 7]


@pytest.mark.parametrize(
    ("path", "table", "body"),
    [
        ("/dbt/transform", "gold.cr_gold_fence", {"name": "cr_gold_fence", "sql_query": "{sql}"}),
        (
            "/spark/transform",
            "silver.cr_silver_fence",
            {"destination_table": "cr_silver_fence", "write_mode": "overwrite", "sql": "{sql}"},
        ),
    ],
)
async def test_a_commit_that_arrives_after_another_ones_passes_the_fence_again(
    harness: RetriesHarness,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    table: str,
    body: dict[str, str],
) -> None:
    """Between the fence and the commit, the run may have got another owner, who published."""
    fence, fenced = OwnedRun.fence, 0

    async def overtaken(run: OwnedRun) -> None:
        nonlocal fenced
        await fence(run)
        fenced += 1
        if fenced == 1:
            await asyncio.to_thread(harness.catalog.overtake, table.partition(".")[2])

    async def post(sql: str) -> None:
        done = await harness.post(path, **{key: text.format(sql=sql) for key, text in body.items()})
        assert done["status"] in {"completed", "succeeded"}, done

    await post("SELECT 1 AS n")
    before = await harness.retries()
    monkeypatch.setattr(OwnedRun, "fence", overtaken)
    await post("SELECT 2 AS n")
    assert fenced == 2
    after = await harness.retries()
    assert after["published", "stale"] - before.get(("published", "stale"), 0) == 1
    assert harness.rows(table) == [2]
