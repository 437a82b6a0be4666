"""The production setup: Airbyte writes Parquet to bronze, and Spark 3.5 builds silver from it on
Nessie. Two jobs in all."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.lakehouse.external import external_lakehouse
from app.lakehouse.storage import open_client
from tests.conftest import Lakehouse
from tests.integration.servers.airbyte import AirbyteServer, airbyte_server
from tests.integration.servers.nessie import Nessie, start_nessie
from tests.integration.servers.operator import StandInOperator
from tests.integration.spark.cluster import Cluster
from tests.integration.spark.conftest import gateway, gateway_settings
from tests.integration.spark.jobs import ended, get, rows, submit, summary

BUCKET = "production"
"""A separate bucket, since two gateways on one bucket are replicas of one another."""
RECORDS_REF = "records"
ROWS = 25
SQL = """
    CREATE TEMPORARY VIEW roh AS
        SELECT * FROM VALUES ('Öl', 1), ('Öl', 3), ('日本', 2) AS t(`straße`, wert);
    WITH r AS (
        SELECT `straße`, row_number() OVER (PARTITION BY `straße` ORDER BY wert DESC) AS platz
        FROM roh
    )
    SELECT n, odd, `inner`, events.at AS brought, _airbyte_meta.sync_id AS sync,
        `straße`, CAST(1 AS TINYINT) AS tiny, 2L AS big,
        CAST(1.5 AS DECIMAL(10, 2)) AS money,
        1.5D AS double, TRUE AS yes, DATE'2013-01-01' AS day,
        TIMESTAMP'2013-01-01 05:15:00' AS at, TIMESTAMP_NTZ'2013-01-01 05:15:00' AS local,
        CAST('x' AS BINARY) AS bytes, array(1, NULL) AS list, map('k', 1) AS map,
        named_struct('a', 1, 'b', array('c')) AS struct
    FROM parquet.`bronze/events` AS events CROSS JOIN r WHERE platz = 1 AND `straße` = 'Öl'
"""


@pytest.fixture(scope="module")
def airbyte() -> Iterator[AirbyteServer]:
    with airbyte_server() as server:
        yield server


@pytest.fixture(scope="module")
def nessie(servers_folder: Path, lakehouse: Lakehouse) -> Iterator[Nessie]:
    open_client(lakehouse.lake.s3).create_bucket(Bucket=BUCKET)
    server = start_nessie(servers_folder / "nessie", lakehouse.lake.s3)
    server.create_branch(RECORDS_REF)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def production(
    tmp_path_factory: pytest.TempPathFactory,
    lakehouse: Lakehouse,
    cluster: Cluster,
    nessie: Nessie,
    airbyte: AirbyteServer,
) -> Settings:
    """Return the settings. Only SQL is embedded, and it is not used here."""
    s3 = lakehouse.lake.s3
    base = Settings(
        _env_file=None,
        s3_bucket=BUCKET,
        s3_endpoint=s3.endpoint,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
    )
    return gateway_settings(
        lakehouse,
        cluster,
        **{name: getattr(base, name) for name in base.model_fields_set},
        asgard_home=tmp_path_factory.mktemp("production"),
        asgard_embedded=frozenset({"sql"}),
        nessie_uri=nessie.uri,
        nessie_records_ref=RECORDS_REF,
        airbyte_base_url=airbyte.url,
    )


@pytest.fixture(scope="module")
async def lake(production: Settings) -> AsyncIterator[Lakehouse]:
    async with external_lakehouse(production) as lake:
        yield Lakehouse.of(production, lake)


@pytest.fixture(scope="module")
async def producing(
    production: Settings, operator: StandInOperator
) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway(production) as client:
        yield client


@pytest.fixture(scope="module")
async def sync(producing: httpx.AsyncClient) -> dict[str, Any]:
    """Return the run that wrote `bronze/events` in the layout of Airbyte's S3 destination."""
    source = await create(
        producing,
        "datasource",
        name="events",
        type="toy",
        config={"stream": "events", "rows": ROWS},
    )
    sink = await create(producing, "sink", name="lake", type="s3")
    ingestion = await create(
        producing,
        "ingestion",
        name="events",
        sourceId=source["id"],
        destinationId=sink["id"],
        streams=[{"name": "events"}],
    )
    answer = await producing.post(f"/airbyte/ingestion/{ingestion['connectionId']}/sync")
    run: dict[str, Any] = answer.json()
    assert (run["state"], run["output"]["rows"]) == ("succeeded", ROWS), run
    return run


@pytest.fixture(scope="module")
async def previous(lake: Lakehouse, producing: httpx.AsyncClient) -> str:
    """Return the uuid of a `silver.events` with other columns, which the job overwrites."""
    import pyarrow as pa

    old = pa.table({"n": ["as text"], "gone": [1]})

    def make(catalog: Any) -> str:
        table = catalog.create_table("silver.events", old.schema)
        table.append(old)
        return str(table.metadata.table_uuid)

    return await lake.catalog.run(make)


@pytest.fixture(scope="module")
async def job(producing: httpx.AsyncClient, sync: dict[str, Any], previous: str) -> dict[str, Any]:
    """Return the run that built `silver.events` from it."""
    run_id = await submit(producing, SQL, destination_table="events")
    status = await ended(producing, run_id)
    assert status["state"] == "COMPLETED", (await get(producing, run_id, "logs"))["logs"][-5000:]
    run: dict[str, Any] = (await producing.get(f"/runs/{run_id}")).json()
    return run


async def create(client: httpx.AsyncClient, what: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(f"/airbyte/{what}", json=body)
    assert answer.status_code == 201, answer.text
    resource: dict[str, Any] = answer.json()
    return resource


async def test_spark_reads_what_airbyte_wrote(
    producing: httpx.AsyncClient, lake: Lakehouse, sync: dict[str, Any], job: dict[str, Any]
) -> None:
    [read] = job["inputs"]
    assert (read["table"], read["run_ids"]) == ("bronze/events", [sync["run_id"]])
    files = await lake.store.list("bronze/events/")
    assert len(files) == 3
    table = sorted(await rows(lake, "silver.events"), key=lambda row: row["n"])
    assert [row["n"] for row in table] == list(range(1, ROWS + 1))
    assert [row["odd"] for row in table] == [None if n == 3 else n for n in range(1, ROWS + 1)]
    assert table[6]["inner"] == '{"of":[7]}'
    brought = datetime(2024, 2, 29, 12, 0, 0, 500_000, tzinfo=UTC)
    assert {row["brought"] for row in table} == {brought}
    job_id = (await producing.get(f"/runs/{sync['run_id']}")).json()["engine"]["airbyte_job_id"]
    assert {row["sync"] for row in table} == {int(job_id)}


async def test_every_type_is_written_as_on_the_embedded_engine(
    lake: Lakehouse, job: dict[str, Any]
) -> None:
    [row] = [row for row in await rows(lake, "silver.events") if row["n"] == 1]
    brought = {"n", "odd", "inner", "brought", "sync"}
    assert {name: value for name, value in row.items() if name not in brought} == {
        "straße": "Öl",
        "tiny": 1,
        "big": 2,
        "money": Decimal("1.50"),
        "double": 1.5,
        "yes": True,
        "day": date(2013, 1, 1),
        "at": datetime(2013, 1, 1, 5, 15, tzinfo=UTC),
        "local": datetime(2013, 1, 1, 5, 15),  # noqa: DTZ001 — it has no zone
        "bytes": b"x",
        "list": [1, None],
        "map": [("k", 1)],
        "struct": {"a": 1, "b": ["c"]},
    }
    table = await lake.catalog.table("silver.events")
    assert table is not None
    types = {column.name: column.type for column in table.columns}
    assert types["at"] == "timestamp(6) with time zone"
    assert types["local"] == "timestamp(6)"
    assert types["money"] == "decimal(10,2)"


async def test_the_snapshot_on_nessie_says_which_application_and_run_wrote_it(
    lake: Lakehouse,
    cluster: Cluster,
    operator: StandInOperator,
    job: dict[str, Any],
    previous: str,
) -> None:
    name = f"sql-exec-{job['run_id']}"
    application = cluster.application(name)
    properties = await summary(lake, "silver.events")
    assert properties["asgard.run_id"] == job["run_id"]
    assert properties["spark.app.id"] == application["status"]["sparkApplicationId"]
    assert properties["engine-version"] == "3.5.9"
    assert properties["added-records"] == str(ROWS)
    assert operator.written[name] == ["SUBMITTED", "RUNNING", "SUCCEEDING", "COMPLETED"]
    output = job["output"]
    assert (output["table"], output["rows"], output["catalog_ref"]) == (
        "silver.events",
        ROWS,
        "main",
    )
    table = await lake.catalog.table("silver.events")
    assert table is not None
    assert output["snapshot_id"] == table.snapshot_id
    assert output["metadata_location"] == table.metadata_location
    assert table.table_uuid == previous
    assert "gone" not in [column.name for column in table.columns]
    assert table.metadata_location.startswith(f"s3://{BUCKET}/silver/events")
    assert set(application["spec"]["driver"]["envSecretKeyRefs"]) == {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    }


async def test_an_append_on_nessie_adds_rows_and_nulls_what_it_lacks(
    producing: httpx.AsyncClient, lake: Lakehouse, cluster: Cluster, job: dict[str, Any]
) -> None:
    """Where history is hidden, the operator may not repeat it."""
    before = await rows(lake, "silver.events")
    body = {"destination_table": "events", "write_mode": "append"}
    run_id = await submit(producing, f"SELECT {ROWS + 1}L AS n", **body)
    assert (await ended(producing, run_id))["state"] == "COMPLETED"
    run = (await producing.get(f"/runs/{run_id}")).json()
    assert (run["output"]["rows"], run["output"]["rows_written"]) == (ROWS + 1, 1)
    application = cluster.application(f"sql-exec-{run_id}")
    assert application["spec"]["restartPolicy"] == {"type": "Never"}
    assert len(before) == ROWS
    added = dict.fromkeys(before[0]) | {"n": ROWS + 1}
    after = await rows(lake, "silver.events")
    assert [row for row in after if row not in before] == [added]
    assert [row for row in after if row in before] == before
    properties = await summary(lake, "silver.events")
    assert (properties["operation"], properties["asgard.run_id"]) == ("append", run_id)
    assert properties["spark.app.id"] == application["status"]["sparkApplicationId"]
