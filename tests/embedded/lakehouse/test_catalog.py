import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from app.errors import EngineFailed, EngineUnreachable, NotFound
from app.failure import FailureCause
from app.lakehouse.catalog import RUN_ID_PROPERTY, Catalog, Column
from app.lakehouse.connection import Lake
from app.lakehouse.storage import open_client

ROWS = pa.table({"id": [1, 2, 3], "name": ["a", "b", "c"]})


async def make_table(lakehouse, name: str, *run_ids: str) -> None:
    """One append of three rows for each run."""

    def make(catalog) -> None:
        table = catalog.create_table(name, ROWS.schema)
        for run_id in run_ids:
            table.append(ROWS, snapshot_properties={RUN_ID_PROPERTY: run_id})

    await lakehouse.catalog.run(make)


async def test_all_namespaces_are_there_after_the_start(lakehouse):
    await lakehouse.catalog.ensure_namespaces()
    found = await lakehouse.catalog.run(lambda catalog: catalog.list_namespaces())
    expected = {"asgard", "asgard_staging", "bronze", "gold", "silver"}
    assert {".".join(name) for name in found} >= expected


async def test_a_tables_figures_are_those_of_its_snapshot(lakehouse):
    await make_table(lakehouse, "silver.catalog_figures", "run1", "run2")
    found = await lakehouse.catalog.table("silver.catalog_figures")
    truth = await lakehouse.catalog.run(lambda c: c.load_table("silver.catalog_figures"))
    files = truth.inspect.files().to_pylist()
    assert found.table == "silver.catalog_figures"
    assert (found.rows, found.files) == (6, 2)
    assert found.bytes == sum(file["file_size_in_bytes"] for file in files)
    assert found.snapshot_id == str(truth.current_snapshot().snapshot_id)
    assert found.table_uuid == str(truth.metadata.table_uuid)
    assert found.metadata_location == truth.metadata_location
    assert found.columns == (Column("id", "bigint"), Column("name", "varchar"))
    assert found.partition_spec == []
    age = datetime.now(UTC) - found.last_updated
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert found.created_at < found.last_updated


async def test_a_table_without_a_snapshot_is_empty(lakehouse):
    await make_table(lakehouse, "silver.catalog_empty")
    found = await lakehouse.catalog.table("silver.catalog_empty")
    assert (found.rows, found.bytes, found.files, found.snapshot_id) == (0, 0, 0, None)


async def test_a_partitioned_table_says_how(lakehouse):
    from pyiceberg.transforms import BucketTransform, IdentityTransform

    def make(catalog) -> None:
        table = catalog.create_table("silver.catalog_parts", ROWS.schema)
        with table.update_spec() as spec:
            spec.add_field("name", IdentityTransform(), "name")
            spec.add_field("id", BucketTransform(4), "id_bucket")

    await lakehouse.catalog.run(make)
    found = await lakehouse.catalog.table("silver.catalog_parts")
    assert found.partition_spec == ["name", "bucket[4](id)"]


async def test_what_is_not_there_is_none(lakehouse):
    for name in ("gold.catalog_missing", "no_such_schema.t"):
        assert await lakehouse.catalog.table(name) is None
        assert await lakehouse.catalog.view(name) is None
        assert await lakehouse.catalog.state(name) is None
        assert await lakehouse.catalog.find_snapshot(name, "run") is None
    with pytest.raises(NotFound):
        await lakehouse.catalog.run(lambda catalog: catalog.load_table("gold.catalog_missing"))


async def test_a_runs_snapshot_is_found_behind_later_ones(lakehouse):
    await make_table(lakehouse, "gold.catalog_history", "run1", "run2", "run3")
    found = await lakehouse.catalog.find_snapshot("gold.catalog_history", "run2")
    table = await lakehouse.catalog.run(lambda c: c.load_table("gold.catalog_history"))
    assert found.snapshot_id == str(table.history()[1].snapshot_id)
    assert (found.rows, found.files) == (6, 2)
    assert await lakehouse.catalog.find_snapshot("gold.catalog_history", "run4") is None


async def test_a_dropped_table_takes_its_files_along(lakehouse):
    from app.lakehouse.storage import ObjectStore

    await make_table(lakehouse, "gold.catalog_dropped", "run1")
    warehouse = ObjectStore(replace(lakehouse.lake.s3, bucket="warehouse"))
    assert len(await warehouse.list("gold/catalog_dropped/")) > 0
    assert await lakehouse.catalog.drop_table("gold.catalog_dropped") is True
    assert await lakehouse.catalog.table("gold.catalog_dropped") is None
    assert await warehouse.list("gold/catalog_dropped/") == []
    assert await lakehouse.catalog.drop_table("gold.catalog_dropped") is False


async def test_a_view_holds_what_it_was_given(lakehouse):
    columns = [Column("n", "bigint"), Column("at", "timestamp(6) with time zone", nullable=False)]
    made = await lakehouse.catalog.replace_view(
        "gold.catalog_view", "SELECT n, at FROM silver.t", columns, {"asgard.made": "yes"}
    )
    assert made == await lakehouse.catalog.view("gold.catalog_view")
    assert made.sql == "SELECT n, at FROM silver.t"
    assert made.columns == tuple(columns)
    assert made.properties["asgard.made"] == "yes"
    assert "gold.catalog_view" in await lakehouse.catalog.list_views("gold")
    assert "gold.catalog_view" not in await lakehouse.catalog.list_tables("gold")
    state = await lakehouse.catalog.state("gold.catalog_view")
    assert (state.table_uuid, state.snapshot_id) == (made.view_uuid, None)
    assert await lakehouse.catalog.drop_view("gold.catalog_view") is True
    assert await lakehouse.catalog.drop_view("gold.catalog_view") is False


async def test_a_drop_leaves_the_other_kind_alone(lakehouse):
    catalog = lakehouse.catalog
    await make_table(lakehouse, "gold.catalog_table", "run1")
    await catalog.replace_view("gold.catalog_kind", "SELECT 1 AS n", [Column("n", "integer")], {})
    assert await catalog.drop_view("gold.catalog_table") is False
    assert await catalog.drop_table("gold.catalog_kind") is False
    assert (await catalog.table("gold.catalog_table")).rows == 3
    assert (await catalog.view("gold.catalog_kind")).sql == "SELECT 1 AS n"


async def test_a_view_does_not_take_the_name_of_a_table(lakehouse):
    await make_table(lakehouse, "gold.catalog_taken", "run1")
    with pytest.raises(EngineFailed, match=r"(?i)the catalog refused"):
        await lakehouse.catalog.replace_view(
            "gold.catalog_taken", "SELECT 1 AS n", [Column("n", "integer")], {}
        )
    assert (await lakehouse.catalog.table("gold.catalog_taken")).rows == 3


async def test_a_view_is_replaced_without_ever_being_away(lakehouse):
    name, columns = "gold.catalog_replaced", [Column("x", "bigint")]
    first = await lakehouse.catalog.replace_view(name, "SELECT 0 x", columns, {"old": "1"})
    seen: list[str] = []
    done = False

    async def read() -> None:
        while not done:
            view = await lakehouse.catalog.view(name)
            seen.append(view.sql if view else "missing")

    reader = asyncio.create_task(read())
    for number in range(1, 21):
        sql = f"SELECT {number} x{number}"
        kept = [Column(f"x{number}", "varchar")]
        last = await lakehouse.catalog.replace_view(name, sql, kept, {"new": str(number)})
        assert last.sql == sql
    done = True
    await reader
    assert (last.sql, last.columns) == ("SELECT 20 x20", (Column("x20", "varchar"),))
    own = {key: value for key, value in last.properties.items() if not key.startswith("nessie.")}
    assert own == {"new": "20"}
    assert last.view_uuid == first.view_uuid
    assert len(set(seen)) > 2
    assert "missing" not in seen


async def test_the_state_of_a_table_is_what_the_catalog_says(lakehouse):
    await make_table(lakehouse, "gold.catalog_state", "run1")
    info = await lakehouse.catalog.table("gold.catalog_state")
    state = await lakehouse.catalog.state("gold.catalog_state")
    assert state.model_dump() == {
        "table": "gold.catalog_state",
        "table_uuid": info.table_uuid,
        "snapshot_id": info.snapshot_id,
        "metadata_location": info.metadata_location,
        "catalog_ref": "main",
    }


async def test_a_lake_survives_the_way_to_a_child(lakehouse):
    assert Lake.from_json(lakehouse.lake.to_json()) == lakehouse.lake
    assert lakehouse.lake.s3.secret_key not in repr(lakehouse.lake)


# Tokens and faults


def asks_for_tokens(lake: Lake) -> Lake:
    """As an external catalog is used."""
    return replace(lake, catalog=replace(lake.catalog, signs_tokens=False))


@pytest.mark.parametrize("external", [True, False])
async def test_a_token_that_is_refused_is_renewed_and_the_request_repeated(lakehouse, external):
    lake = asks_for_tokens(lakehouse.lake) if external else lakehouse.lake
    catalog = lake.open_catalog()
    for call in (catalog.list_namespaces, lambda: catalog.list_views("gold")):
        catalog._credentials._token = "expired"
        call()
        assert catalog._credentials._token != "expired"
    catalog.close()


async def test_a_token_is_renewed_before_it_expires(lakehouse, monkeypatch):
    catalog: Any = asks_for_tokens(lakehouse.lake).open_catalog()
    token = catalog._credentials._token
    catalog.list_namespaces()
    assert catalog._credentials._token == token
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3600 - 290)
    fetched = []
    fetch = catalog._credentials._fetch
    monkeypatch.setattr(catalog._credentials, "_fetch", lambda: fetched.append(fetch()))
    catalog.list_namespaces()
    catalog.list_namespaces()
    assert len(fetched) == 1
    catalog.close()


async def test_the_wrong_credential_is_a_failure_that_says_so(lakehouse):
    connection = replace(lakehouse.lake.catalog, credential="someone:else")
    catalog = Catalog(replace(lakehouse.lake, catalog=connection))
    with pytest.raises(EngineFailed) as caught:
        await catalog.list_tables("gold")
    assert caught.value.cause is FailureCause.PERMISSION_DENIED


async def test_a_catalog_that_nobody_serves_is_unreachable_at_once(lakehouse):
    connection = replace(lakehouse.lake.catalog, uri="http://127.0.0.1:9")
    catalog = Catalog(replace(lakehouse.lake, catalog=connection))
    with pytest.raises(EngineUnreachable) as caught:
        await catalog.table("gold.t")
    assert caught.value.members == {"dependency": "catalog"}


@pytest.mark.parametrize("mute", ["catalog", "token"])
async def test_a_catalog_that_accepts_and_stays_mute_does_not_hang(lakehouse, mute):
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    field = "uri" if mute == "catalog" else "oauth2_server_uri"
    changes = {field: address, "read_timeout": 0.3, "signs_tokens": False}
    catalog = Catalog(replace(lakehouse.lake, catalog=replace(lakehouse.lake.catalog, **changes)))
    begun = time.monotonic()
    with pytest.raises(EngineUnreachable):
        await catalog.table("gold.t")
    assert time.monotonic() - begun < 8
    server.close()


async def test_a_view_can_be_given_what_it_had_before(lakehouse):
    name = "gold.view_again"
    columns = [Column("x", "integer", True)]
    wider = [*columns, Column("y", "varchar", True)]
    for run, (sql, kept) in enumerate(
        [
            ("SELECT 1 x", columns),
            ("SELECT 1 x", columns),
            ("SELECT 2 x", columns),
            ("SELECT 1 x, 'a' y", wider),
            ("SELECT 1 x", columns),
        ]
    ):
        replaced = await lakehouse.catalog.replace_view(name, sql, kept, {"run": str(run)})
        found = await lakehouse.catalog.view(name)
        assert found is not None
        assert (found.sql, found.properties["run"]) == (sql, str(run))
        assert [column.name for column in found.columns] == [column.name for column in kept]
        assert replaced.view_uuid == found.view_uuid


async def test_two_writers_that_create_a_table_at_once_get_the_same_location(lakehouse):
    """SeaweedFS offers the second one another folder if the first has written files already."""
    name = f"gold.t{uuid4().hex[:8]}"
    writers = [lakehouse.lake.open_catalog() for _ in range(2)]

    def create() -> list[str]:
        locations = []
        for writer in writers:
            staged = writer.create_table_transaction(name, ROWS.schema)
            locations.append(staged.table_metadata.location)
            staged._table.io.new_output(f"{locations[-1]}/data/{uuid4().hex}").create().close()
        return locations

    first, second = await asyncio.to_thread(create)
    assert first == second


async def test_a_table_is_created_where_a_creation_that_died_left_files(lakehouse):
    """SeaweedFS offers a new table another folder if files are in its own."""
    name = f"gold.t{uuid4().hex[:8]}"
    bucket, folder = lakehouse.lake.catalog.warehouse, name.replace(".", "/")
    await asyncio.to_thread(
        open_client(lakehouse.lake.s3).put_object,
        Bucket=bucket,
        Key=f"{folder}/metadata/{uuid4().hex}.metadata.json",
        Body=b"{}",
    )

    def create(catalog) -> tuple[str, int]:
        table = catalog.create_table_if_not_exists(name, ROWS.schema)
        table.append(ROWS)
        return table.location(), catalog.load_table(name).scan().to_arrow().num_rows

    assert await lakehouse.catalog.run(create) == (f"s3://{bucket}/{folder}", 3)
