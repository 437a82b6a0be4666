"""How Asgard treats metadata of tables, into which every writer of a table can put anything."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import duckdb
import httpx
import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record

from app.dbt_transformations.tables import tables_of, views_of
from app.errors import EngineFailed, TableRefused
from app.lakehouse.catalog import Column
from app.lakehouse.connection import Lake
from app.lakehouse.outputs import RunOutput
from app.lakehouse.publish import publish
from app.lakehouse.publish.snapshots import delete_unreachable
from app.lakehouse.storage import open_client
from app.warehouse.duckdb.session import open_session, our_errors
from tests.conftest import Lakehouse
from tests.http_server import Asked, Reply, replying

ROWS = pa.table({"id": [1, 2, 3]})
SCHEMA = {
    "type": "struct",
    "schema-id": 0,
    "fields": [{"id": 1, "name": "id", "required": False, "type": "long"}],
}


@dataclass(frozen=True)
class Writer:
    """Another program that may write the tables of one schema, with plain requests."""

    lake: Lake
    headers: Mapping[str, str]
    name: str

    @classmethod
    def of(cls, lake: Lake) -> "Writer":
        key, _, secret = (lake.catalog.credential or "").partition(":")
        form = {"grant_type": "client_credentials", "client_id": key, "client_secret": secret}
        answer = httpx.post(f"{lake.catalog.uri}/v1/oauth/tokens", data=form).json()
        bearer = {"Authorization": f"Bearer {answer['access_token']}"}
        return cls(lake, bearer, f"foreign_{uuid4().hex[:8]}")

    @property
    def table(self) -> str:
        return f"gold.{self.name}"

    def create(self, **more: str) -> None:
        self._post("", {"name": self.name, "schema": SCHEMA, **more})

    def change(self, *updates: Mapping[str, Any]) -> None:
        identifier = {"namespace": ["gold"], "name": self.name}
        self._post(
            f"/{self.name}",
            {"identifier": identifier, "requirements": [], "updates": list(updates)},
        )

    def set(self, **properties: str) -> None:
        named = {key.replace("__", "-").replace("_", "."): v for key, v in properties.items()}
        self.change({"action": "set-properties", "updates": named})

    def retype(self, kind: object) -> None:
        field = {"id": 2, "name": "odd", "required": False, "type": kind}
        schema = {**SCHEMA, "schema-id": 1, "fields": [*SCHEMA["fields"], field]}
        self.change(
            {"action": "upgrade-format-version", "format-version": 3},
            {"action": "add-schema", "schema": schema, "last-column-id": 1000},
            {"action": "set-current-schema", "schema-id": -1},
        )

    def move(self, location: str) -> None:
        self.change({"action": "set-location", "location": location})

    def remove(self) -> None:
        httpx.delete(f"{self._tables}/{self.name}", headers=self.headers).raise_for_status()

    def add_snapshot(
        self,
        manifests: str,
        timestamp: int | None = None,
        records: str = "1",
        operation: str = "append",
    ) -> None:
        snapshot = {
            "snapshot-id": 1,
            "sequence-number": 1,
            "timestamp-ms": timestamp or int(time.time() * 1000),
            "manifest-list": manifests,
            "summary": {"operation": operation, "total-records": records},
            "schema-id": 0,
        }
        main = {"ref-name": "main", "type": "branch", "snapshot-id": 1}
        self.change(
            {"action": "add-snapshot", "snapshot": snapshot},
            {"action": "set-snapshot-ref", **main},
        )

    def create_view(self, timestamp: int) -> None:
        sql = {"type": "sql", "sql": "SELECT 1 id", "dialect": "trino"}
        version = {
            "version-id": 1,
            "schema-id": 0,
            "timestamp-ms": timestamp,
            "summary": {},
            "representations": [sql],
            "default-namespace": ["gold"],
        }
        body = {"name": self.name, "schema": SCHEMA, "view-version": version, "properties": {}}
        views = self._tables.removesuffix("tables") + "views"
        answer = httpx.post(views, json=body, headers=self.headers)
        assert answer.is_success, answer.text

    @property
    def _tables(self) -> str:
        return f"{self.lake.catalog.uri}/v1/warehouse/namespaces/gold/tables"

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        answer = httpx.post(f"{self._tables}{path}", json=body, headers=self.headers)
        assert answer.is_success, answer.text


@pytest.fixture
async def writer(lakehouse: Lakehouse) -> AsyncIterator[Writer]:
    writer = Writer.of(lakehouse.publisher_lake)
    yield writer
    # Restore its own location, or the catalog would delete the files at another one.
    with closing(open_client(lakehouse.lake.s3)) as s3:
        prefix = f"gold/{writer.name}/"
        for key in keys(s3, prefix):
            s3.delete_object(Bucket="warehouse", Key=key)


def keys(s3: Any, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="warehouse", Prefix=prefix)
    return [one["Key"] for page in pages for one in page.get("Contents", ())]


def published(lake: Lake, table: str, run_id: str) -> RunOutput:
    """Replace the table's rows, as the publisher does."""
    reader = pa.RecordBatchReader.from_batches(ROWS.schema, ROWS.to_batches())
    with closing(lake.open_catalog()) as catalog, our_errors():
        return publish.replace_table(catalog, table, reader, run_id=run_id)


async def rows(lakehouse: Lakehouse, table: str) -> int:
    return await lakehouse.catalog.run(lambda c: c.load_table(table).scan().to_arrow().num_rows)


async def test_a_location_is_not_run_as_code(lakehouse, writer, tmp_path):
    trace = tmp_path / "trace"
    writer.create()
    writer.set(write_py__location__provider_impl="builtins.exec")
    writer.move(f"open({str(trace)!r}, 'w')")
    with pytest.raises(EngineFailed, match="names the location") as refused:
        published(lakehouse.publisher_lake, writer.table, uuid4().hex)
    assert not trace.exists()
    assert refused.value.members["table"] == writer.table


async def test_a_tables_location_provider_is_not_imported(lakehouse, writer, capfd):
    writer.create()
    writer.set(write_py__location__provider_impl="builtins.print")
    run_id = uuid4().hex
    done = published(lakehouse.publisher_lake, writer.table, run_id)
    assert (done.rows, await rows(lakehouse, writer.table)) == (3, 3)
    assert writer.name not in capfd.readouterr().out


async def test_a_tables_io_is_not_imported(lakehouse, writer, capfd):
    writer.create()
    writer.set(py__io__impl="builtins.print")
    table = await lakehouse.catalog.table(writer.table)
    assert table is not None
    assert "py-io-impl" not in table.properties
    printed = capfd.readouterr().out
    assert str(lakehouse.lake.s3.secret_key) not in printed
    assert "s3.secret-access-key" not in printed


async def test_a_tables_io_that_exits_does_not_end_the_gateway(lakehouse, writer):
    writer.create()
    writer.set(py__io__impl="zipfile.main")
    assert await lakehouse.catalog.table(writer.table) is not None


async def test_no_exception_of_a_thread_ends_the_event_loop(lakehouse):
    def leave(_: RestCatalog) -> None:
        raise SystemExit(2)

    with pytest.raises(EngineFailed, match="SystemExit"):
        await lakehouse.catalog.run(leave)


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[Asked]]]:
    """Another server, and the requests that it got."""
    requests: list[Asked] = []

    def reply(asked: Asked) -> Reply:
        requests.append(asked)
        return Reply(200, headers={"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'})

    with replying(reply) as port:
        yield f"http://127.0.0.1:{port}", requests


async def test_a_table_does_not_name_the_server_that_gets_its_rows(lakehouse, writer, elsewhere):
    address, requests = elsewhere
    writer.create()
    writer.set(s3_endpoint=address)
    done = published(lakehouse.publisher_lake, writer.table, uuid4().hex)
    assert requests == []
    assert (done.rows, await rows(lakehouse, writer.table)) == (3, 3)


@pytest.mark.parametrize("property_", ["write_data_path", "write_metadata_path"])
async def test_files_are_written_below_the_location_of_their_table(
    lakehouse, writer, tmp_path, property_
):
    writer.create()
    writer.set(**{property_: f"file://{tmp_path}"})
    published(lakehouse.publisher_lake, writer.table, uuid4().hex)
    assert list(tmp_path.iterdir()) == []
    assert await rows(lakehouse, writer.table) == 3


async def test_hashed_paths_are_also_below_the_location(lakehouse, writer):
    writer.create()
    writer.change({"action": "set-properties", "updates": {"write.object-storage.enabled": "true"}})
    published(lakehouse.publisher_lake, writer.table, uuid4().hex)
    assert await rows(lakehouse, writer.table) == 3
    with closing(open_client(lakehouse.lake.s3)) as s3:
        files = keys(s3, f"gold/{writer.name}/data/")
    assert [len(file.split("/")) for file in files] == [8]


def data_file(path: str, size: int = 10) -> DataFile:
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        file_size_in_bytes=size,
        record_count=1,
        sort_order_id=None,
        spec_id=0,
        equality_ids=None,
        key_metadata=None,
    )


@pytest.mark.parametrize(
    "query",
    [
        "s3_endpoint={host}&s3_use_ssl=false&s3_url_style=path",
        "s3_endpoint={host}&s3_use_ssl=false&s3_access_key_id=a&s3_secret_access_key=b",
        "s3_region=elsewhere&s3_session_token=t&s3_endpoint={host}&s3_use_ssl=false",
    ],
)
async def test_the_path_of_a_data_file_does_not_name_a_server(
    lakehouse, writer, elsewhere, tmp_path, query
):
    address, requests = elsewhere
    writer.create()
    options = query.format(host=address.removeprefix("http://"))
    path = f"s3://warehouse/gold/{writer.name}/data/other.parquet?{options}"

    def add(catalog: RestCatalog) -> None:
        with (
            catalog.load_table(writer.table).transaction() as transaction,
            transaction.update_snapshot().fast_append() as producer,
        ):
            producer.append_data_file(data_file(path, 10_000))

    await lakehouse.catalog.run(add)

    def read() -> None:
        with closing(open_session(lakehouse.builder_lake, tmp_path, "256MB")) as session:
            session.execute(f"SELECT * FROM {lakehouse.lake.catalog_name}.{writer.table}")

    with pytest.raises(duckdb.Error):
        await asyncio.to_thread(read)
    assert requests == []


async def test_expiry_deletes_only_files_of_its_table(lakehouse, writer, tmp_path):
    local = tmp_path / "file"
    local.write_text("kept")
    other = f"gold.other_{uuid4().hex[:8]}"
    published(lakehouse.publisher_lake, other, uuid4().hex)
    with closing(open_client(lakehouse.lake.s3)) as s3:
        [kept] = keys(s3, f"{other.replace('.', '/')}/data/")
        writer.create()
        own = f"gold/{writer.name}/data/old.parquet"
        s3.put_object(Bucket="warehouse", Key=own, Body=b"old")
        named = [
            f"file://{local}",
            f"s3://warehouse/{kept}",
            f"s3://warehouse/gold/{writer.name}/data/../../../{kept}",
            f"s3://warehouse/{own}",
        ]

        def expire(catalog: RestCatalog) -> None:
            table = catalog.load_table(writer.table)
            with (
                table.transaction() as transaction,
                transaction.update_snapshot().fast_append() as p,
            ):
                for path in named:
                    p.append_data_file(data_file(path))
            old = table.current_snapshot()
            assert old is not None
            published(lakehouse.publisher_lake, writer.table, uuid4().hex)
            table.refresh().maintenance.expire_snapshots().by_id(old.snapshot_id).commit()
            delete_unreachable(table.refresh(), [old])

        await lakehouse.catalog.run(expire)
        assert local.read_text() == "kept"
        assert keys(s3, kept) == [kept]
        assert keys(s3, own) == []
    await lakehouse.catalog.drop_table(other)


@pytest.mark.parametrize(
    ("place", "moved"),
    [
        ("asgard/{name}", None),
        ("asgard/{name}", "gold/{own}"),
        ("silver/{name}", None),
        ("asgard/{name}/data", None),
    ],
)
async def test_a_drop_leaves_files_of_other_schemas(lakehouse, writer, place, moved):
    name = f"victim_{uuid4().hex[:8]}"
    schema = place.partition("/")[0]

    def make(catalog: RestCatalog) -> None:
        catalog.create_table(f"{schema}.{name}", ROWS.schema).append(ROWS)

    await lakehouse.catalog.run(make)
    with closing(open_client(lakehouse.lake.s3)) as s3:
        before = set(keys(s3, f"{schema}/{name}/"))
        writer.create(location=f"s3://warehouse/{place.format(name=name)}")
        if moved:
            writer.move(f"s3://warehouse/{moved.format(own=writer.name)}")
        dropped = lakehouse.catalog.drop_table(writer.table)
        [answer] = await asyncio.gather(dropped, return_exceptions=True)
        assert before - set(keys(s3, f"{schema}/{name}/")) == set()
        assert isinstance(answer, TableRefused)
        assert answer.members["table"] == writer.table
    with closing(lakehouse.lake.open_catalog()) as catalog:
        assert ("gold", writer.name) in catalog.list_tables("gold")
    assert await rows(lakehouse, f"{schema}.{name}") == 3


async def test_manifests_on_this_machine_are_not_read(lakehouse, writer, tmp_path):
    local = tmp_path / "list.avro"
    local.write_bytes(b"")
    writer.create()
    writer.add_snapshot(f"file://{local}")
    with pytest.raises(TableRefused, match="not a file on S3"):
        published(lakehouse.publisher_lake, writer.table, uuid4().hex)


def nested_list(depth: int) -> object:
    kind: object = "long"
    for level in range(depth):
        kind = {
            "type": "list",
            "element-id": 10 + level,
            "element-required": False,
            "element": kind,
        }
    return kind


@pytest.mark.parametrize(
    "spoil",
    [
        lambda writer: writer.move("file:///etc"),
        lambda writer: writer.add_snapshot("s3://warehouse/x", timestamp=10**17),
        lambda writer: writer.add_snapshot("s3://warehouse/x", records="²"),
        lambda writer: writer.add_snapshot("s3://warehouse/x", operation="evil"),
        lambda writer: writer.retype("variant"),
        lambda writer: writer.retype("geometry(srid:3857)"),
        lambda writer: writer.retype(nested_list(150)),
        lambda writer: writer.retype(nested_list(250)),
    ],
    ids=[
        "location",
        "time",
        "figure",
        "operation",
        "variant",
        "geometry",
        "nested",
        "deeply nested",
    ],
)
async def test_a_list_omits_a_table_whose_metadata_is_refused(lakehouse, writer, spoil):
    writer.create()
    spoil(writer)
    good = f"gold.good_{uuid4().hex[:8]}"
    published(lakehouse.publisher_lake, good, uuid4().hex)
    names = [info.table for info in await tables_of(lakehouse.catalog, "gold")]
    assert good in names
    assert writer.table not in names
    with pytest.raises(TableRefused) as refused:
        await lakehouse.catalog.table(writer.table)
    assert refused.value.members["table"] == writer.table
    await lakehouse.catalog.drop_table(good)


async def test_a_list_leaves_out_a_view_whose_metadata_is_refused(lakehouse):
    writer, good = Writer.of(lakehouse.lake), f"gold.good_{uuid4().hex[:8]}"
    writer.create_view(timestamp=2**62)
    await lakehouse.catalog.replace_view(good, "SELECT 1 x", [Column("x", "integer")], {})
    try:
        names = [info.table for info in await views_of(lakehouse.catalog, "gold")]
        assert good in names
        assert writer.table not in names
        with pytest.raises(TableRefused) as refused:
            await lakehouse.catalog.view(writer.table)
        assert refused.value.members["table"] == writer.table
    finally:
        for view in (good, writer.table):
            await lakehouse.catalog.drop_view(view)


async def test_leftovers_are_not_searched_at_other_places(lakehouse, writer):
    """The gateway sweeps after dead runs, with its own keys."""
    run_id = uuid4().hex
    with closing(open_client(lakehouse.lake.s3)) as s3:
        key = f"asgard/runs/open/{run_id}"
        s3.put_object(Bucket="lake", Key=key, Body=b"kept")
        writer.create()
        writer.move("s3://lake/asgard/runs/open")
        with pytest.raises(EngineFailed, match="names the location"):
            await lakehouse.catalog.run(lambda c: publish.sweep(c, writer.table, [run_id]))
        assert s3.get_object(Bucket="lake", Key=key)["Body"].read() == b"kept"
        s3.delete_object(Bucket="lake", Key=key)
