"""The limited identities of the lake: a builder reads silver and gold, Sail also reads the files of
sources, and each publisher writes the tables of one schema."""

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import duckdb
import httpx
import pyarrow as pa
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import (
    CommitStateUnknownException,
    ForbiddenError,
    NoSuchNamespaceError,
    NoSuchTableError,
    NoSuchViewError,
)

from app.config import Settings
from app.context.engines import spark_engine
from app.context.foundation import build_foundation
from app.lakehouse.catalog import Column
from app.lakehouse.connection import Lake
from app.lakehouse.embedded.lakehouse import embedded_lakehouse
from app.lakehouse.storage import open_client
from app.processes import ChildProcess, WorkerProcess
from app.sandbox import run_module
from app.sandbox.policy import Sandbox
from app.telemetry.calls import SILENT
from app.warehouse.duckdb.session import open_session
from tests.conftest import Lakehouse

ROWS = pa.table({"id": [1, 2, 3]})
BUCKETS = ("lake", "warehouse")
ARN = "arn:aws:s3tables:us-east-1:000000000000:bucket/warehouse"
HIDDEN = (ForbiddenError, NoSuchNamespaceError, NoSuchTableError, NoSuchViewError)
"""A catalog may report a hidden table as missing."""


@dataclass(frozen=True)
class IdentitiesHarness:
    lake: Lake
    s3: Any
    """Uses the gateway's own keys, as `catalog` does."""
    catalog: RestCatalog
    builder: Lake
    name: str
    """The name of a table that each schema of the lake has."""
    others: Mapping[str, Collection[str]]
    """By bucket: objects that other tests left in the lake, which may be thousands."""

    def keys(self) -> dict[str, dict[str, str]]:
        """Return every other object of both buckets with its etag."""
        return {
            bucket: {
                key: etag
                for key, etag in objects(self.s3, bucket).items()
                if key not in self.others[bucket]
            }
            for bucket in BUCKETS
        }

    def files(self, schema: str) -> list[str]:
        place = f"{schema}/{self.name}/"
        return [key for key in self.keys()["warehouse"] if key.startswith(place)]


def objects(s3: Any, bucket: str) -> dict[str, str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {one["Key"]: one["ETag"] for page in pages for one in page.get("Contents", ())}


@pytest.fixture(scope="module")
def harness(lakehouse: Lakehouse) -> Iterator[IdentitiesHarness]:
    name = f"b_{uuid4().hex[:8]}"
    catalog = lakehouse.lake.open_catalog()
    with closing(open_client(lakehouse.lake.s3)) as s3:
        others = {bucket: objects(s3, bucket).keys() for bucket in BUCKETS}
        for schema in lakehouse.lake.namespaces:
            catalog.create_table(f"{schema}.{name}", ROWS.schema).append(ROWS)
        keys = ("asgard/runs/open/r.json", "asgard/locks/l", "bronze/landing/b.csv")
        for key in keys:
            s3.put_object(Bucket="lake", Key=key, Body=b"kept")
        yield IdentitiesHarness(lakehouse.lake, s3, catalog, lakehouse.builder_lake, name, others)
        for schema in lakehouse.lake.namespaces:
            catalog.purge_table(f"{schema}.{name}")
        for key in keys:
            s3.delete_object(Bucket="lake", Key=key)


@pytest.fixture
def builder_s3(harness: IdentitiesHarness) -> Iterator[Any]:
    with closing(open_client(harness.builder.s3)) as client:
        yield client


@pytest.fixture
def builder_duckdb(
    harness: IdentitiesHarness, tmp_path: Path
) -> Iterator[duckdb.DuckDBPyConnection]:
    with closing(open_session(harness.builder, tmp_path / "scratch", "256MB")) as connection:
        yield connection


def refused(call: Callable[..., object], **arguments: Any) -> None:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] in ("AccessDenied", "403"), error.value


def signed_post(lake: Lake, service: str, body: str) -> httpx.Response:
    """Post to an API that SeaweedFS serves in addition to S3, on the same port."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    request = AWSRequest("POST", f"{lake.s3.endpoint}/", form, body)
    keys = Credentials(lake.s3.access_key, lake.s3.secret_key)
    SigV4Auth(keys, service, lake.s3.region).add_auth(request)
    return httpx.post(request.url, content=body, headers=dict(request.headers))


def test_the_builder_has_its_own_keys_and_otherwise_the_same_lake(harness):
    lake, builder = harness.lake, harness.builder
    assert builder.s3.access_key != lake.s3.access_key
    assert builder.s3.secret_key != lake.s3.secret_key
    assert len(builder.s3.secret_key) >= 32
    s3 = replace(builder.s3, access_key=lake.s3.access_key, secret_key=lake.s3.secret_key)
    catalog = replace(builder.catalog, credential=lake.catalog.credential)
    assert builder.catalog.credential == f"{builder.s3.access_key}:{builder.s3.secret_key}"
    assert replace(builder, s3=s3, catalog=catalog) == lake


@pytest.mark.parametrize("schema", ["silver", "gold"])
def test_pyiceberg_and_duckdb_read_tables_that_were_just_published(harness, builder_duckdb, schema):
    catalog = harness.builder.open_catalog()
    name = f"{schema}.fresh_{uuid4().hex[:8]}"
    table = harness.catalog.create_table(name, ROWS.schema)
    table.append(ROWS)
    assert catalog.load_table(name).scan().to_arrow().num_rows == 3
    count = f"SELECT count(*) FROM iceberg.{name}"
    assert builder_duckdb.execute(count).fetchone() == (3,)
    table.append(ROWS)
    assert catalog.load_table(name).scan().to_arrow().num_rows == 6
    assert builder_duckdb.execute(count).fetchone() == (6,)
    assert (schema, name.partition(".")[2]) in catalog.list_tables(schema)


async def test_the_builder_reads_views(harness, lakehouse):
    name = f"gold.v_{uuid4().hex[:8]}"
    await lakehouse.catalog.replace_view(
        name, f"SELECT id FROM silver.{harness.name}", [Column("id", "bigint")], {}
    )
    catalog = harness.builder.open_catalog()
    assert "SELECT id" in catalog.load_view(name).current_version().representations[0].root.sql
    assert ("gold", name.partition(".")[2]) in catalog.list_views("gold")


@pytest.mark.parametrize("schema", ["asgard", "bronze", "asgard_staging"])
def test_other_schemas_are_hidden_from_the_catalogs_readers(harness, builder_duckdb, schema):
    catalog, table = harness.builder.open_catalog(), f"{schema}.{harness.name}"
    for look in (
        lambda: catalog.load_table(table),
        lambda: catalog.load_view(table),
        lambda: catalog.list_tables(schema),
        lambda: catalog.list_views(schema),
        lambda: catalog.load_namespace_properties(schema),
    ):
        with pytest.raises(HIDDEN):
            look()
    with pytest.raises(duckdb.Error):
        builder_duckdb.execute(f"SELECT * FROM iceberg.{table}")


@pytest.mark.parametrize(
    "place",
    [
        "lake/",
        "lake/asgard/",
        "lake/bronze/",
        "warehouse/",
        "warehouse/asgard/",
        "warehouse/asgard",
        "warehouse/a",
        "warehouse/bronze/",
        "warehouse/asgard_staging/",
    ],
)
def test_listing_is_refused_outside_of_silver_and_gold(harness, builder_s3, builder_duckdb, place):
    bucket, _, prefix = place.partition("/")
    refused(builder_s3.list_objects_v2, Bucket=bucket, Prefix=prefix)
    refused(builder_s3.list_objects, Bucket=bucket, Prefix=prefix, Delimiter="/")
    refused(builder_s3.list_object_versions, Bucket=bucket, Prefix=prefix)
    # The session reads no patterns: this is a key like any other, and S3 is not asked for a list.
    pattern = f"s3://{place}**"
    assert builder_duckdb.execute(f"SELECT * FROM glob('{pattern}')").fetchall() == [(pattern,)]


def test_paths_with_dots_list_and_read_nothing(harness, builder_s3):
    [record, *_] = harness.files("asgard")
    assert "Contents" not in builder_s3.list_objects_v2(Bucket="warehouse", Prefix="gold/../asgard")
    endpoint = harness.builder.s3.endpoint
    for way in (f"gold/../{record}", f"gold/%2e%2e/{record}", f"gold/..%2f{record}"):
        url = builder_s3.generate_presigned_url(
            "get_object", Params={"Bucket": "warehouse", "Key": f"gold/../{record}"}
        )
        query = url.partition("?")[2]
        answer = httpx.get(f"{endpoint}/warehouse/{way}?{query}")
        assert answer.status_code in (400, 403, 404), (way, answer.text)
    with pytest.raises(ClientError):
        builder_s3.get_object(Bucket="warehouse", Key=f"gold/../{record}")


def test_no_object_outside_of_silver_and_gold_is_read_and_none_is_changed(harness, builder_s3):
    before = harness.keys()
    own = "asgard_staging/build_copy/data/copy.parquet"
    for bucket in BUCKETS:
        for key in before[bucket]:
            name = {"Bucket": bucket, "Key": key}
            is_own = bucket == "warehouse" and key.startswith("asgard_staging/build_")
            if is_own:
                continue
            if bucket == "warehouse" and key.startswith(("silver/", "gold/")):
                assert builder_s3.get_object(**name)["ETag"] == before[bucket][key]
            else:
                refused(builder_s3.get_object, **name)
                refused(builder_s3.head_object, **name)
                copy = {"Bucket": "warehouse", "Key": own, "CopySource": name}
                refused(builder_s3.copy_object, **copy)
            refused(builder_s3.put_object, **name, Body=b"evil")
            refused(builder_s3.delete_object, **name)
            refused(builder_s3.create_multipart_upload, **name)
            refused(builder_s3.put_object_tagging, **name, Tagging={"TagSet": []})
        deletion = {"Objects": [{"Key": key} for key in before[bucket] if "/build_" not in key]}
        answer = builder_s3.delete_objects(Bucket=bucket, Delete=deletion)
        assert {error["Code"] for error in answer["Errors"]} == {"AccessDenied"}
        assert len(answer["Errors"]) == len(deletion["Objects"])
    assert harness.keys() == before


@pytest.mark.parametrize(
    "key",
    [
        "gold/{table}/data/new.parquet",
        "silver/{table}/metadata/v9.metadata.json",
        "asgard/{table}/data/new.parquet",
        "asgard_staging/{table}/data/new.parquet",
        "asgard_staging/new.parquet",
        "asgard_staging/build_x/../../gold/{table}/data/new.parquet",
        "new/table/data/new.parquet",
    ],
)
def test_writing_is_refused_outside_of_the_builders_own_files(
    harness, builder_s3, builder_duckdb, key
):
    key = key.format(table=harness.name)
    before = harness.keys()
    with pytest.raises(ClientError):
        builder_s3.put_object(Bucket="warehouse", Key=key, Body=b"evil")
    with pytest.raises(duckdb.Error):
        builder_duckdb.execute(f"COPY (SELECT 1 AS evil) TO 's3://warehouse/{key}'")
    assert harness.keys() == before


@pytest.mark.parametrize("key", ["bronze/landing/new.csv", "asgard/runs/open/new.json", "new"])
def test_nothing_is_written_into_the_bucket_of_files_and_runs(
    harness, builder_s3, builder_duckdb, key
):
    before = harness.keys()
    refused(builder_s3.put_object, Bucket="lake", Key=key, Body=b"evil")
    with pytest.raises(duckdb.Error):
        builder_duckdb.execute(f"COPY (SELECT 1 AS evil) TO 's3://lake/{key}' (FORMAT csv)")
    assert harness.keys() == before


def test_the_builder_writes_reads_and_deletes_its_own_files(harness, builder_s3, builder_duckdb):
    folder = f"asgard_staging/build_{uuid4().hex[:8]}"
    file = f"s3://warehouse/{folder}/data/rows.parquet"
    builder_duckdb.execute(f"COPY (SELECT * FROM iceberg.gold.{harness.name}) TO '{file}'")
    assert builder_duckdb.execute(f"SELECT count(*) FROM '{file}'").fetchone() == (3,)
    listed = builder_s3.list_objects_v2(Bucket="warehouse", Prefix=f"{folder}/")["Contents"]
    assert [found["Key"] for found in listed] == [f"{folder}/data/rows.parquet"]
    # The publisher has other keys.
    assert harness.s3.head_object(Bucket="warehouse", Key=f"{folder}/data/rows.parquet")
    builder_s3.delete_object(Bucket="warehouse", Key=f"{folder}/data/rows.parquet")
    assert "Contents" not in builder_s3.list_objects_v2(Bucket="warehouse", Prefix=f"{folder}/")


@pytest.mark.parametrize("schema", ["silver", "gold", "asgard", "asgard_staging"])
def test_the_catalog_refuses_every_change_by_the_builder(harness, schema):
    before, catalog = harness.keys(), harness.builder.open_catalog()
    record = f"s3://warehouse/asgard/{harness.name}/metadata/v1.metadata.json"
    table, new = f"{schema}.{harness.name}", f"{schema}.new_{uuid4().hex[:8]}"
    for change in (
        lambda: catalog.create_table(new, ROWS.schema),
        lambda: catalog.register_table(new, record),
        lambda: catalog.drop_table(table),
        lambda: catalog.purge_table(table),
        lambda: catalog.rename_table(table, new),
        lambda: catalog.rename_table(f"gold.{harness.name}", new),
        lambda: catalog.create_namespace(f"new_{uuid4().hex[:8]}"),
        lambda: catalog.drop_namespace(schema),
        lambda: catalog.update_namespace_properties(schema, updates={"owner": "evil"}),
        lambda: catalog.drop_view(table),
    ):
        with pytest.raises(HIDDEN):
            change()
    assert harness.keys() == before
    assert harness.catalog.load_table(table).scan().to_arrow().num_rows == 3


def test_no_commit_of_the_builder_reaches_a_table(harness):
    """Call the catalog directly: a client would fail earlier, when it first writes a file."""
    uri, (key, _, secret) = (
        harness.builder.catalog.uri,
        harness.builder.catalog.credential.partition(":"),
    )
    grant = {"grant_type": "client_credentials", "client_id": key, "client_secret": secret}
    token = httpx.post(f"{uri}/v1/oauth/tokens", data=grant).json()["access_token"]
    identifier = {"namespace": ["gold"], "name": harness.name}
    change = {
        "identifier": identifier,
        "requirements": [],
        "updates": [{"action": "set-properties", "updates": {"owner": "evil"}}],
    }
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}) as client:
        root = f"{uri}/v1/warehouse"
        one = client.post(f"{root}/namespaces/gold/tables/{harness.name}", json=change)
        many = client.post(f"{root}/transactions/commit", json={"table-changes": [change]})
        assert not one.is_success
        assert not many.is_success
        # The token itself is good.
        assert client.get(f"{root}/namespaces/gold/tables/{harness.name}").is_success
    assert "owner" not in harness.catalog.load_table(f"gold.{harness.name}").properties


def test_the_builder_neither_reads_nor_changes_permissions(harness, builder_s3):
    keys = {
        "aws_access_key_id": harness.builder.s3.access_key,
        "aws_secret_access_key": harness.builder.s3.secret_key,
        "endpoint_url": harness.builder.s3.endpoint,
        "region_name": harness.builder.s3.region,
    }
    with closing(boto3.client("s3tables", **keys)) as tables:
        anyone = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}
        everything = json.dumps({"Version": "2012-10-17", "Statement": [anyone]})
        for call in (
            lambda: tables.get_table_bucket_policy(tableBucketARN=ARN),
            lambda: tables.put_table_bucket_policy(tableBucketARN=ARN, resourcePolicy=everything),
            lambda: tables.delete_table_bucket_policy(tableBucketARN=ARN),
            lambda: tables.delete_table_bucket(tableBucketARN=ARN),
            lambda: tables.list_tables(tableBucketARN=ARN),
            lambda: tables.get_table(tableBucketARN=ARN, namespace="asgard", name=harness.name),
            lambda: tables.delete_table(tableBucketARN=ARN, namespace="gold", name=harness.name),
        ):
            with pytest.raises(ClientError):
                call()
    for bucket in BUCKETS:
        refused(builder_s3.put_bucket_policy, Bucket=bucket, Policy=everything)
        refused(builder_s3.get_bucket_policy, Bucket=bucket)
        refused(builder_s3.put_bucket_acl, Bucket=bucket, ACL="public-read-write")
        refused(builder_s3.delete_bucket, Bucket=bucket)
    refused(builder_s3.create_bucket, Bucket="builders-own")
    for service, action in (
        ("iam", "ListUsers"),
        ("iam", "CreateAccessKey"),
        ("sts", "GetCallerIdentity"),
        ("sts", "GetSessionToken"),
    ):
        answer = signed_post(harness.builder, service, f"Action={action}&Version=2011-06-15")
        assert answer.status_code in (403, 405), (service, action, answer.text)
    assert harness.catalog.load_table(f"gold.{harness.name}").scan().to_arrow().num_rows == 3


async def test_schemas_with_other_names_are_readable_after_the_next_start(tmp_path):
    before = Settings(_env_file=None, asgard_home=tmp_path)
    async with embedded_lakehouse(before) as lakehouse:
        lakehouse.lake.open_catalog().create_table("gold.t", ROWS.schema).append(ROWS)
    after = before.model_copy(update={"gold_schema": "marts"})
    async with embedded_lakehouse(after) as lakehouse:
        assert lakehouse.builder_lake.gold_schema == "marts"
        lakehouse.lake.open_catalog().create_table("marts.t", ROWS.schema).append(ROWS)
        catalog = lakehouse.builder_lake.open_catalog()
        assert catalog.load_table("marts.t").scan().to_arrow().num_rows == 3
        with pytest.raises(NoSuchTableError):
            catalog.load_table("gold.t")


@pytest.mark.parametrize(
    ("publisher", "own"), [("publisher_lake", "gold"), ("silver_publisher_lake", "silver")]
)
def test_a_publisher_writes_the_tables_of_its_schema_and_nothing_else(
    harness, lakehouse, publisher, own
):
    publisher = getattr(lakehouse, publisher)
    catalog = publisher.open_catalog()
    name = f"{own}.published_{uuid4().hex[:8]}"
    table = catalog.create_table(name, ROWS.schema)
    table.append(ROWS)
    assert harness.catalog.load_table(name).scan().to_arrow().num_rows == 3
    others = {"silver", "gold", "asgard", "bronze", "asgard_staging"} - {own}
    for schema in others:
        with pytest.raises(HIDDEN):
            catalog.create_table(f"{schema}.planted_{uuid4().hex[:8]}", ROWS.schema)
        with pytest.raises(HIDDEN):
            catalog.load_table(f"{schema}.{harness.name}")
    for remove in (catalog.drop_table, catalog.purge_table):
        with pytest.raises(HIDDEN):
            remove(name)
    with closing(open_client(publisher.s3)) as s3:
        files = [("warehouse", harness.files(schema)[0]) for schema in others]
        for bucket, key in (
            ("lake", "asgard/runs/open/r.json"),
            ("lake", "bronze/landing/b.csv"),
            *files,
        ):
            refused(s3.get_object, Bucket=bucket, Key=key)
            refused(s3.put_object, Bucket=bucket, Key=key, Body=b"planted")
            refused(s3.delete_object, Bucket=bucket, Key=key)
    assert harness.catalog.load_table(name).scan().to_arrow().num_rows == 3


def test_sail_reads_sources_silver_and_gold_and_no_other_object_and_changes_none(
    harness, lakehouse
):
    before = harness.keys()
    with closing(open_client(lakehouse.sail_lake.s3)) as s3:
        for bucket in BUCKETS:
            readable = ("bronze/",) if bucket == "lake" else ("silver/", "gold/")
            for key, etag in before[bucket].items():
                name = {"Bucket": bucket, "Key": key}
                if key.startswith(readable):
                    assert s3.get_object(**name)["ETag"] == etag
                else:
                    refused(s3.get_object, **name)
                    refused(s3.head_object, **name)
                refused(s3.put_object, **name, Body=b"evil")
                refused(s3.delete_object, **name)
                refused(s3.create_multipart_upload, **name)
            deletion = {"Objects": [{"Key": key} for key in before[bucket]]}
            answer = s3.delete_objects(Bucket=bucket, Delete=deletion)
            assert len(answer["Errors"]) == len(deletion["Objects"])
            for place in readable:
                new = {"Bucket": bucket, "Key": f"{place}{harness.name}/new"}
                refused(s3.put_object, **new, Body=b"evil")
                assert s3.list_objects_v2(Bucket=bucket, Prefix=place)["KeyCount"] > 0
            for place in ("", "asgard/", "asgard_staging/"):
                refused(s3.list_objects_v2, Bucket=bucket, Prefix=place)
    assert harness.keys() == before


@pytest.mark.parametrize("schema", ["silver", "gold", "asgard", "asgard_staging", "bronze"])
def test_the_catalog_refuses_every_change_by_sail(harness, lakehouse, schema):
    before, catalog = harness.keys(), lakehouse.sail_lake.open_catalog()
    table, new = f"{schema}.{harness.name}", f"{schema}.new_{uuid4().hex[:8]}"
    for change in (
        lambda: catalog.create_table(new, ROWS.schema),
        lambda: catalog.drop_table(table),
        lambda: catalog.purge_table(table),
        lambda: catalog.rename_table(table, new),
        lambda: catalog.create_namespace(f"new_{uuid4().hex[:8]}"),
        lambda: catalog.drop_namespace(schema),
        lambda: catalog.drop_view(table),
    ):
        with pytest.raises(HIDDEN):
            change()
    if schema in ("silver", "gold"):
        loaded = catalog.load_table(table)
        # The catalog reports a refused commit as an error of its own.
        refusals = (*HIDDEN, CommitStateUnknownException)
        with pytest.raises(refusals), loaded.transaction() as transaction:
            transaction.set_properties(owner="evil")
        seen = harness.catalog.load_table(table)
        assert seen.scan().to_arrow().num_rows == 3
        assert "owner" not in seen.properties
    else:
        with pytest.raises(HIDDEN):
            catalog.load_table(table)
    assert harness.keys() == before


async def test_sail_also_reads_the_prefixes_that_the_settings_allow(tmp_path):
    settings = Settings(_env_file=None, asgard_home=tmp_path, s3_allowed_prefixes=("landing/", "a"))
    async with embedded_lakehouse(settings) as lakehouse:
        await lakehouse.store.put("landing/a.csv", b"id")
        await lakehouse.store.put("landed/a.csv", b"id")
        await lakehouse.store.put("asgard/a.json", b"{}")
        with closing(open_client(lakehouse.sail_lake.s3)) as s3:
            assert s3.get_object(Bucket="lake", Key="landing/a.csv")["Body"].read() == b"id"
            refused(s3.get_object, Bucket="lake", Key="landed/a.csv")
            refused(s3.get_object, Bucket="lake", Key="asgard/a.json")


BOOT = f"import sys; sys.path.insert(0, {str(Path(run_module.__file__).parent)!r})\n" + (
    """import run_module
run_module.load_app()
import socket
from functools import partial

def reached_by(attempts, ports):
    for port in ports:
        connect = partial(socket.create_connection, ("127.0.0.1", port), 2)
        attempts[f"port {port}"] = connect
    reached = []
    for what, attempt in attempts.items():
        try:
            attempt()
        except Exception:
            continue
        reached.append(what)
    return reached

"""
)
HOSTILE = """
import json, sys
from pathlib import Path
from app.lakehouse.connection import Lake
from app.lakehouse.storage import open_client
from app.warehouse.duckdb.session import open_session

lake, folder, home, name, ports = sys.argv[1:6]
lake = Lake.from_json(Path(lake).read_text())
session = open_session(lake, Path(folder) / "scratch", "128MB")
rows = session.execute(f"SELECT count(*) FROM iceberg.gold.{name}").fetchone()[0]
s3 = open_client(lake.s3)
attempts = {
    "the lake's keys": lambda: (Path(home) / "lakehouse.json").read_text(),
    "the home": lambda: list(Path(home).iterdir()),
    "a run": lambda: s3.get_object(Bucket="lake", Key="asgard/runs/open/r.json"),
    "bronze": lambda: s3.put_object(Bucket="lake", Key="bronze/planted", Body=b"x"),
    "gold": lambda: s3.put_object(Bucket="warehouse", Key="gold/planted", Body=b"x"),
    "a drop": lambda: lake.open_catalog().drop_table(f"gold.{name}"),
    "a copy": lambda: session.execute("COPY (SELECT 1) TO 's3://lake/bronze/planted.csv'"),
}
reached = reached_by(attempts, json.loads(ports))
print(json.dumps({"rows": rows, "reached": reached}))
"""


async def test_a_hostile_program_in_a_builders_place_reads_gold_and_reaches_nothing(
    harness, lakehouse, tmp_path
):
    own = tmp_path / "own"
    own.mkdir()
    (own / "lake.json").write_text(harness.builder.to_json())
    (own / "hostile.py").write_text(BOOT + HOSTILE)
    every = json.loads((lakehouse.home / "lakehouse.json").read_text())["ports"]
    closed = sorted(set(every.values()) - {port for _, port in harness.builder.hosts})
    arguments = [own / "lake.json", own, lakehouse.home, harness.name, json.dumps(closed)]
    child = await ChildProcess.start(
        [sys.executable, own / "hostile.py", *arguments],
        name="hostile",
        log_path=tmp_path / "log",
        sandbox=Sandbox(own, harness.builder.hosts),
        pipe_stdout=True,
    )
    answer = await child.stdout.read()
    assert await child.wait() == 0, child.log_tail()
    assert json.loads(answer) == {"rows": 3, "reached": []}


HOSTILE_SAIL = """
import json, sys
from pathlib import Path
from app.lakehouse.connection import Lake
from app.lakehouse.storage import open_client

lake, home, name, ports, files = sys.argv[1:6]
lake, files = Lake.from_json(Path(lake).read_text()), json.loads(files)
s3, catalog = open_client(lake.s3), lake.open_catalog()
body = s3.get_object(Bucket="lake", Key="bronze/landing/b.csv")["Body"].read().decode()
rows = [catalog.load_table(f"{schema}.{name}").scan().to_arrow().num_rows
        for schema in ("silver", "gold")]
new = catalog.load_table(f"silver.{name}").schema()

def change(schema):
    with catalog.load_table(f"{schema}.{name}").transaction() as transaction:
        transaction.set_properties(owner="evil")

attempts = {
    "the lake's keys": lambda: (Path(home) / "lakehouse.json").read_text(),
    "the home": lambda: list(Path(home).iterdir()),
    "a run": lambda: s3.get_object(Bucket="lake", Key="asgard/runs/open/r.json"),
    "another run": lambda: s3.put_object(Bucket="lake", Key="asgard/planted", Body=b"x"),
    "a lock": lambda: s3.delete_object(Bucket="lake", Key="asgard/locks/l"),
    "records": lambda: catalog.load_table(f"asgard.{name}"),
    "a file of a record": lambda: s3.get_object(Bucket="warehouse", Key=files["asgard"]),
    "a source": lambda: s3.put_object(Bucket="lake", Key="bronze/planted", Body=b"x"),
    "the end of a source": lambda: s3.delete_object(Bucket="lake", Key="bronze/landing/b.csv"),
    "the policy": lambda: s3.put_bucket_policy(Bucket="lake", Policy="{}"),
}
for schema in ("silver", "gold", "asgard", "asgard_staging"):
    attempts |= {
        f"a file in {schema}": lambda schema=schema: s3.put_object(
            Bucket="warehouse", Key=f"{schema}/planted", Body=b"x"),
        f"the end of a file in {schema}": lambda schema=schema: s3.delete_object(
            Bucket="warehouse", Key=files[schema]),
        f"a change in {schema}": lambda schema=schema: change(schema),
        f"a table in {schema}": lambda schema=schema: catalog.create_table(
            f"{schema}.planted", new),
        f"a drop in {schema}": lambda schema=schema: catalog.drop_table(f"{schema}.{name}"),
    }
reached = reached_by(attempts, json.loads(ports))
print(json.dumps({"body": body, "rows": rows, "reached": reached}))
"""


async def given_to(module, lakehouse, monkeypatch):
    """Return what the application gives to a process of Spark's engine: its first message and its
    sandbox."""
    given, start = {}, WorkerProcess.start

    async def watched(started, **options):
        given[started] = options
        return await start(started, **options)

    monkeypatch.setattr(WorkerProcess, "start", watched)
    async with AsyncExitStack() as stack:
        foundation = await build_foundation(lakehouse.settings, SILENT, stack)
        spark_engine(foundation)
        await foundation.warm[-1]()
    return given[module]


async def test_a_hostile_program_in_sails_place_reads_sources_and_reaches_nothing_else(
    harness, lakehouse, tmp_path, monkeypatch
):
    given = await given_to("app.data_transformation.sail.worker", lakehouse, monkeypatch)
    lake, sandbox = Lake.from_json(given["handshake"]["lake"]), given["sandbox"]
    own = tmp_path / "own"
    own.mkdir()
    (own / "lake.json").write_text(lake.to_json())
    (own / "hostile.py").write_text(BOOT + HOSTILE_SAIL)
    every = json.loads((lakehouse.home / "lakehouse.json").read_text())["ports"]
    closed = sorted(set(every.values()) - {port for _, port in lake.hosts})
    schemas = ("silver", "gold", "asgard", "asgard_staging")
    files = {schema: harness.files(schema)[-1] for schema in schemas}
    before = harness.keys()
    child = await ChildProcess.start(
        [
            sys.executable,
            own / "hostile.py",
            own / "lake.json",
            lakehouse.home,
            harness.name,
            json.dumps(closed),
            json.dumps(files),
        ],
        name="hostile",
        log_path=tmp_path / "log",
        sandbox=replace(sandbox, folder=own),
        pipe_stdout=True,
    )
    answer = await child.stdout.read()
    assert await child.wait() == 0, child.log_tail()
    assert json.loads(answer) == {"body": "kept", "rows": [3, 3], "reached": []}
    assert harness.keys() == before


HOSTILE_PUBLISHER = """
import json, sys
from pathlib import Path
from app.lakehouse.connection import Lake

lake, home, name, ports, result = sys.argv[1:6]
catalog = Lake.from_json(Path(lake).read_text()).open_catalog()
rows = catalog.load_table(f"silver.{name}").scan().to_arrow().num_rows
attempts = {
    "the lake's keys": lambda: (Path(home) / "lakehouse.json").read_text(),
    "the home": lambda: list(Path(home).iterdir()),
    "a worker's file": lambda: Path(result).write_text("forged"),
    "a shell": lambda: __import__("subprocess").run(["/bin/sh", "-c", "true"], check=True),
}
reached = reached_by(attempts, json.loads(ports))
handed_over = Path(result).read_text()
print(json.dumps({"rows": rows, "handed over": handed_over, "reached": reached}))
"""


async def test_a_hostile_program_in_a_publishers_place_reads_only_the_files_of_results(
    harness, lakehouse, tmp_path, monkeypatch
):
    given = await given_to("app.lakehouse.publish.worker", lakehouse, monkeypatch)
    lake = Lake.from_json(given["handshake"]["lake"])
    own = tmp_path / "own"
    own.mkdir()
    (own / "lake.json").write_text(lake.to_json())
    (own / "hostile.py").write_text(BOOT + HOSTILE_PUBLISHER)
    [handed_over] = given["sandbox"].reads
    result = handed_over / f"result-{uuid4().hex}"
    result.write_text("rows")
    every = json.loads((lakehouse.home / "lakehouse.json").read_text())["ports"]
    closed = sorted(set(every.values()) - {port for _, port in lake.hosts})
    arguments = [own / "lake.json", lakehouse.home, harness.name, json.dumps(closed), result]
    child = await ChildProcess.start(
        [sys.executable, own / "hostile.py", *arguments],
        name="hostile",
        log_path=tmp_path / "log",
        sandbox=replace(given["sandbox"], folder=own),
        pipe_stdout=True,
    )
    answer = await child.stdout.read()
    result.unlink()
    assert await child.wait() == 0, child.log_tail()
    assert json.loads(answer) == {"rows": 3, "handed over": "rows", "reached": []}
