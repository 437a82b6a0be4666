"""The lake opens only to its keys: every other port and socket of SeaweedFS refuses strangers."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio.to_thread
import httpx
import psutil
import pyarrow as pa
import pytest
from cryptography import x509

from app.config import Settings
from app.lakehouse.embedded import seaweedfs_ports
from app.lakehouse.embedded.home import Home, new_shared
from app.lakehouse.embedded.lakehouse import EmbeddedLakehouse, embedded_lakehouse
from app.lakehouse.embedded.seaweedfs import _program
from tests.doors import Answer, Door, Request, doors_of, knock
from tests.live_gateway import live_gateway
from tests.patience import until

ROWS = pa.table({"id": [1, 2, 3]})
VOLUMES = "/col/delete?collection=warehouse"
REQUESTS = (
    *(
        Request("GET", path)
        for path in (
            "/",
            VOLUMES,
            "/col/delete?collection=lake",
            "/dir/assign?collection=lake",
            "/dir/status",
            "/vol/status",
            "/vol/grow?count=1",
            "/vol/vacuum?garbageThreshold=0.0001",
            "/cluster/status",
            "/submit",
            "/ui/index.html",
            "/status",
            "/healthz",
            "/stats/disk",
            "/metrics",
            "/debug/pprof/heap",
            "/buckets/",
            "/buckets/lake/bronze/kept",
            "/lake/bronze/kept",
            "/1,0000",
            "/v1/config?warehouse=warehouse",
            "/v1/namespaces",
            "/v1/warehouse/namespaces/gold/tables/kept",
        )
    ),
    Request("POST", "/"),
    Request("POST", VOLUMES),
    Request("POST", "/submit"),
    Request("POST", "/buckets/lake/bronze/evil"),
    Request("POST", "/v1/warehouse/namespaces"),
    Request("PUT", "/lake/bronze/evil"),
    Request("DELETE", "/buckets/lake?recursive=true"),
    Request("DELETE", "/lake/bronze/kept"),
    Request("DELETE", "/v1/warehouse/namespaces/gold/tables/kept"),
    Request("OPTIONS", "/lake/bronze/kept"),
)
METHODS = (
    "/master_pb.Seaweed/Statistics",
    "/master_pb.Seaweed/CollectionList",
    "/filer_pb.SeaweedFiler/GetFilerConfiguration",
    "/volume_server_pb.VolumeServer/VolumeServerStatus",
    "/iam_pb.SeaweedIdentityAccessManagement/GetConfiguration",
    "/messaging_pb.SeaweedS3IamCache/PutIdentity",
    "/worker_pb.WorkerService/WorkerStream",
    "/spark.connect.SparkConnectService/Config",
)


@pytest.fixture
async def lakehouse(tmp_path: Path) -> AsyncIterator[EmbeddedLakehouse]:
    async with embedded_lakehouse(Settings(_env_file=None, asgard_home=tmp_path)) as lakehouse:
        await keep_something(lakehouse)
        yield lakehouse


async def keep_something(lakehouse: EmbeddedLakehouse) -> None:
    await lakehouse.store.put("bronze/kept", b"kept")
    await lakehouse.catalog.run(
        lambda catalog: catalog.create_table("gold.kept", ROWS.schema).append(ROWS)
    )


async def assert_all_is_there(lakehouse: EmbeddedLakehouse) -> None:
    assert (await lakehouse.store.get("bronze/kept")).body == b"kept"
    rows = await lakehouse.catalog.run(lambda c: c.load_table("gold.kept").scan().to_arrow())
    assert rows.to_pydict() == {"id": [1, 2, 3]}
    # Without its volumes, the lake can be neither read nor written.
    await lakehouse.store.put("bronze/after", b"after")
    assert (await lakehouse.store.get("bronze/after")).body == b"after"


async def all_doors(lakehouse: EmbeddedLakehouse, ports: dict[str, int]) -> list[Door]:
    """The admin server comes last, a second or two after S3."""

    def open_now() -> list[Door]:
        doors = doors_of(lakehouse.pid)
        last = {ports["admin.port"], ports["admin.port.grpc"]}
        return doors if last <= {door.port for door in doors} else []

    return await until(open_now)


def ports_in(home: Path) -> dict[str, int]:
    return json.loads((home / "lakehouse.json").read_text())["ports"]


async def test_every_port_and_socket_refuses_strangers(lakehouse, tmp_path):
    ports = ports_in(tmp_path)
    doors = await all_doors(lakehouse, ports)
    assert len({door.port for door in doors if door.port}) >= 11
    assert len([door for door in doors if door.socket]) >= 7
    answers = await anyio.to_thread.run_sync(knock, doors, REQUESTS, METHODS)
    s3, catalog = Door("weed", port=ports["s3.port"]), Door("weed", port=ports["s3.port.iceberg"])
    s3_socket = Door("weed", socket=str(tmp_path / "seaweedfs" / "s3.sock"))
    # These show that it runs, and what the Iceberg catalog specification leaves open.
    allowed = {
        *((door, f"GET {path}") for door in (s3, s3_socket) for path in ("/status", "/healthz")),
        (catalog, "GET /v1/config?warehouse=warehouse"),
    }
    assert {(answer.door, answer.how) for answer in answers} <= allowed, shown(answers)
    for answer in answers:
        if answer.door == catalog:
            said = json.loads(answer.said.removeprefix("200 "))
            assert said == {
                "defaults": {"warehouse": "s3://warehouse"},
                "overrides": {"prefix": "warehouse"},
            }
        else:
            assert answer.said == "200 "
    await assert_all_is_there(lakehouse)


def shown(answers: list[Answer]) -> str:
    return "\n".join(f"{answer.door}: {answer.how}: {answer.said}" for answer in answers)


async def test_one_get_does_not_delete_the_volumes_of_all_tables(lakehouse, tmp_path):
    page = {
        "Host": "evil.example",
        "Origin": "http://evil.example",
        "Sec-Fetch-Site": "cross-site",
    }
    master = f"http://127.0.0.1:{ports_in(tmp_path)['master.port']}"
    async with httpx.AsyncClient(timeout=5) as stranger:
        answer = await stranger.get(master + VOLUMES, headers=page)
        assert answer.status_code == 400
    await assert_all_is_there(lakehouse)


async def test_seaweedfs_own_shell_sees_and_deletes_nothing(lakehouse, tmp_path):
    ports = ports_in(tmp_path)
    master = f"127.0.0.1:{ports['master.port']}.{ports['master.port.grpc']}"
    filer = f"127.0.0.1:{ports['filer.port']}.{ports['filer.port.grpc']}"
    shell = await asyncio.create_subprocess_exec(
        _program(),
        "shell",
        f"-master={master}",
        f"-filer={filer}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"HOME": str(tmp_path / "stranger")},
        cwd=tmp_path,
    )
    asked = b"fs.ls /buckets\nlock\nfs.rm -rf /buckets/lake/bronze/kept\nunlock\nexit\n"
    said = asyncio.create_task(shell.communicate(asked))
    # It never stops trying to reach a master that does not know it.
    await asyncio.wait({said}, timeout=8)
    if shell.returncode is None:
        shell.kill()
    output, _ = await said
    listed = {line.strip() for line in output.decode().splitlines()}
    assert not listed & {"lake", "warehouse"}, output.decode()
    await assert_all_is_there(lakehouse)


async def test_certificate_and_identities_are_for_us_alone(lakehouse, tmp_path):
    for name in ("seaweedfs.pem", "seaweedfs-identities.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "seaweedfs").stat().st_mode) == 0o700


def test_a_home_keeps_its_certificate_until_it_is_a_year_old(tmp_path):
    home, shared, path = Home(tmp_path), new_shared(), tmp_path / "seaweedfs.pem"
    seen = []
    for days in (0, 364, 366):
        if path.exists():
            then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
            os.utime(path, (then, then))
        seaweedfs_ports.environment(home, shared)
        seen.append(path.read_bytes())
    assert seen[0] == seen[1]
    assert seen[1] != seen[2]
    lasts = x509.load_pem_x509_certificate(seen[2]).not_valid_after_utc - datetime.now(UTC)
    assert lasts > timedelta(days=9 * 365)


async def test_a_home_of_the_version_without_certificate_keeps_its_data(tmp_path):
    settings = Settings(_env_file=None, asgard_home=tmp_path)
    async with embedded_lakehouse(settings) as lakehouse:
        await keep_something(lakehouse)
    for name in ("seaweedfs.pem", "seaweedfs-identities.json"):
        (tmp_path / name).unlink()
    async with embedded_lakehouse(settings) as lakehouse:
        await assert_all_is_there(lakehouse)
        builder = lakehouse.builder_lake.open_catalog()
        assert builder.load_table("gold.kept").scan().to_arrow().num_rows == 3


def test_no_other_process_of_a_gateway_has_a_door(tmp_path):
    with live_gateway(tmp_path) as gateway:
        with httpx.Client(base_url=f"{gateway.url}/api/v1", timeout=120) as api:
            spark = {"sql": "SELECT 1 AS a", "destination_table": "doors"}
            built = {"name": "doors", "sql_query": "SELECT a FROM silver.doors"}
            params = {"wait_seconds": 100}
            one = api.post("/spark/transform", json=spark, params=params).json()
            other = api.post("/dbt/transform", json=built, params=params).json()
        assert (one["status"], other["status"]) == ("succeeded", "completed")
        doors = [door for door in doors_of(gateway.process.pid) if door.process != "weed"]
        names = {child.name() for child in psutil.Process(gateway.process.pid).children()}
    assert [f":{door.port}" for door in doors] == [gateway.url[gateway.url.rindex(":") :]]
    assert len(names) > 1
