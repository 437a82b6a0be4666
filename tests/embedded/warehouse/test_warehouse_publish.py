"""Tables change in one commit, and readers always see a whole version."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import pyarrow as pa
import pytest

from app.errors import EngineFailed, InvalidRequest
from app.failure import FailureCause
from app.lakehouse.outputs import RunOutput
from app.lakehouse.publish import publish
from app.lakehouse.publish.published import ExpectedSnapshot
from tests.conftest import Lakehouse

T = TypeVar("T")


def reader(rows: pa.Table) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches())


@dataclass
class Target:
    """Handles one table with a unique name."""

    lakehouse: Lakehouse
    name: str

    async def run(self, work: Callable[[Any], T]) -> T:
        return await self.lakehouse.catalog.run(work)

    async def replace(self, rows: pa.Table, run_id: str | None = None, **more: Any) -> RunOutput:
        run_id = run_id or uuid4().hex
        return await self.run(
            lambda c: publish.replace_table(c, self.name, reader(rows), run_id=run_id, **more)
        )

    async def append(self, rows: pa.Table, run_id: str | None = None, **more: Any) -> RunOutput:
        run_id = run_id or uuid4().hex
        return await self.run(
            lambda c: publish.append_table(c, self.name, reader(rows), run_id=run_id, **more)
        )

    async def rows(self) -> list[dict[str, Any]]:
        return await self.run(lambda c: c.load_table(self.name).scan().to_arrow().to_pylist())

    async def files(self) -> set[str]:
        """Return the names of all files under the table's location."""

        def listed(catalog: Any) -> set[str]:
            from pyarrow.fs import FileSelector

            table = catalog.load_table(self.name)
            scheme, netloc, path = table.io.parse_location(table.location())
            infos = table.io.fs_by_scheme(scheme, netloc).get_file_info(
                FileSelector(path, recursive=True)
            )
            return {info.base_name for info in infos if info.is_file}

        return await self.run(listed)


@pytest.fixture
async def target(lakehouse: Lakehouse) -> AsyncIterator[Target]:
    target = Target(lakehouse, f"gold.publish_{uuid4().hex[:8]}")
    yield target
    await lakehouse.catalog.drop_table(target.name)


async def test_the_first_replacement_creates_the_table(target: Target) -> None:
    done = await target.replace(pa.table({"a": [1, 2], "b": ["x", None]}))
    assert (done.rows, done.rows_written, done.files) == (2, 2, 1)
    assert await target.rows() == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    info = await target.lakehouse.catalog.table(target.name)
    assert info is not None
    assert (info.snapshot_id, info.table_uuid) == (done.snapshot_id, done.table_uuid)
    assert info.metadata_location == done.metadata_location


async def test_a_replacement_sets_its_own_columns_all_optional(target: Target) -> None:
    await target.replace(pa.table({"a": [1], "b": ["x"]}))
    schema = pa.schema([pa.field("b", pa.int64(), nullable=False), pa.field("c c", pa.date32())])
    await target.replace(pa.table({"b": [7], "c c": pa.array([0], pa.date32())}, schema))
    info = await target.lakehouse.catalog.table(target.name)
    assert info is not None
    assert [(c.name, c.type, c.nullable) for c in info.columns] == [
        ("b", "bigint", True),
        ("c c", "date", True),
    ]
    assert [row["b"] for row in await target.rows()] == [7]


async def test_a_replacement_is_one_snapshot_with_the_runs_id(target: Target) -> None:
    await target.replace(pa.table({"a": [1, 2, 3]}))
    done = await target.replace(pa.table({"a": [4]}), run_id=(run_id := uuid4().hex))

    def history(catalog: Any) -> list[tuple[str, str, str]]:
        return [
            (str(s.snapshot_id), s.summary["total-records"], s.summary["asgard.run_id"])
            for s in catalog.load_table(target.name).snapshots()
        ]

    snapshots = await target.run(history)
    assert len(snapshots) == 2
    assert (str(done.snapshot_id), "1", run_id) in snapshots


async def test_a_repeat_of_the_same_run_changes_nothing(target: Target) -> None:
    run_id = uuid4().hex
    first = await target.append(pa.table({"a": [1]}), run_id)
    again = await target.append(pa.table({"a": [1]}), run_id)
    assert again.snapshot_id == first.snapshot_id
    assert await target.rows() == [{"a": 1}]


async def test_an_empty_result_empties_the_table(target: Target) -> None:
    await target.replace(pa.table({"a": [1]}))
    done = await target.replace(pa.table({"a": pa.array([], pa.int64())}))
    assert (done.rows, done.files) == (0, 0)
    assert await target.rows() == []


async def test_an_append_fills_missing_columns_with_null(target: Target) -> None:
    await target.replace(pa.table({"a": [1], "b": ["x"]}))
    done = await target.append(pa.table({"b": ["y"]}))
    assert (done.rows, done.rows_written) == (2, 1)
    assert {"a": None, "b": "y"} in await target.rows()


async def test_an_append_names_the_columns_that_the_table_lacks(target: Target) -> None:
    before = await target.replace(pa.table({"a": [1]}))
    with pytest.raises(InvalidRequest) as refused:
        await target.append(pa.table({"a": [2], "zz": [1], "yy": [1]}))
    assert refused.value.members["unknown_columns"] == ["zz", "yy"]
    info = await target.lakehouse.catalog.table(target.name)
    assert info is not None
    assert info.snapshot_id == before.snapshot_id


async def test_an_append_adds_columns_on_request(target: Target) -> None:
    await target.replace(pa.table({"a": [1]}))
    await target.append(pa.table({"b": [2]}), add_columns=True)
    rows = sorted(await target.rows(), key=str)
    assert rows == [{"a": 1, "b": None}, {"a": None, "b": 2}]


@pytest.mark.parametrize("exists", [True, False])
async def test_a_column_with_the_path_of_a_nested_field_is_refused(
    target: Target, exists: bool
) -> None:
    """Its values would be lost: pyiceberg takes the two for one."""
    first = pa.table({"s": [{"a": 1}], "s.b": ["kept"]})
    if exists:
        await target.replace(first)
    rows = pa.table({"s": [{"a": 2}], "s.a": [77]})
    with pytest.raises(EngineFailed, match=r"'s\.a' has the name of a nested field") as error:
        await target.append(rows, add_columns=True)
    assert error.value.cause is FailureCause.SQL_ERROR
    if exists:
        with pytest.raises(EngineFailed, match=r"'s\.a' has the name"):
            await target.replace(rows)
        await target.append(pa.table({"s": [{"a": 2}], "s.c": [3]}), add_columns=True)
        assert {row["s.c"] for row in await target.rows()} == {None, 3}


async def test_a_value_that_does_not_fit_is_an_sql_error(target: Target) -> None:
    await target.replace(pa.table({"a": pa.array([1], pa.int32())}))
    with pytest.raises(EngineFailed) as failed:
        await target.append(pa.table({"a": [2**40]}))
    assert failed.value.cause is FailureCause.SQL_ERROR
    assert await target.rows() == [{"a": 1}]


async def test_contents_computed_from_another_state_are_not_published(target: Target) -> None:
    old = await target.replace(pa.table({"a": [1]}))
    await target.replace(pa.table({"a": [2]}))
    with pytest.raises(EngineFailed) as failed:
        await target.replace(pa.table({"a": [3]}), base=ExpectedSnapshot(old.snapshot_id))
    assert failed.value.retryable
    assert failed.value.members["changed_table"] == target.name
    assert await target.rows() == [{"a": 2}]


async def test_the_second_of_two_concurrent_replacements_fails(target: Target) -> None:
    await target.replace(pa.table({"a": [0]}))
    schema = pa.schema([("a", pa.int64())])

    def overtaken(catalog: Any) -> RunOutput:
        def batches() -> Iterator[pa.RecordBatch]:
            # The table has been loaded. Another writer commits before these rows do.
            rival = pa.table({"a": [1]})
            publish.replace_table(catalog, target.name, reader(rival), run_id=uuid4().hex)
            yield pa.record_batch({"a": [2]})

        rows = pa.RecordBatchReader.from_batches(schema, batches())
        return publish.replace_table(catalog, target.name, rows, run_id=uuid4().hex)

    with pytest.raises(EngineFailed) as failed:
        await target.run(overtaken)
    assert "changed_table" in failed.value.members
    assert await target.rows() == [{"a": 1}]


async def test_a_failing_row_reader_leaves_the_table_unchanged_and_no_files(target: Target) -> None:
    await target.replace(pa.table({"a": [1]}))
    before = await target.files()
    schema = pa.schema([("a", pa.int64())])
    run_id = uuid4().hex

    def broken() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"a": [2]})
        raise ValueError("no more")

    rows = pa.RecordBatchReader.from_batches(schema, broken())
    with pytest.raises(ValueError, match="no more"):
        await target.run(lambda c: publish.replace_table(c, target.name, rows, run_id=run_id))
    assert await target.rows() == [{"a": 1}]
    assert await target.files() == before


async def test_uncommitted_files_of_a_dead_run_are_removed(target: Target) -> None:
    live = uuid4().hex
    await target.replace(pa.table({"a": [1]}), live)
    dead = uuid4().hex
    before = await target.files()

    def leave(catalog: Any) -> None:
        table = catalog.load_table(target.name)
        for name in (f"data/{dead}-1.parquet", f"data/{live}-1.parquet"):
            with table.io.new_output(f"{table.location()}/{name}").create() as file:
                file.write(b"half")

    await target.run(leave)
    assert len(await target.files()) == len(before) + 2
    await target.run(lambda c: publish.sweep(c, target.name, [dead, live]))
    assert await target.files() == before
    assert await target.rows() == [{"a": 1}]


async def test_readers_see_whole_versions_and_forty_rebuilds_leave_little_metadata(
    target: Target,
) -> None:
    def version(number: int) -> pa.Table:
        return pa.table({"v": [number] * 1000})

    await target.replace(version(0))
    seen: list[int] = []
    done = asyncio.Event()

    async def poll() -> None:
        while not done.is_set():
            values = [row["v"] for row in await target.rows()]
            assert len(values) == 1000
            assert len(set(values)) == 1
            seen.append(values[0])

    polling = asyncio.create_task(poll())
    for number in range(1, 41):
        await target.replace(version(number))
    done.set()
    await polling
    assert len(seen) > 5
    assert seen == sorted(seen)

    def weight(catalog: Any) -> tuple[int, int, int]:
        table = catalog.load_table(target.name)
        manifests = [
            manifest
            for manifest in table.current_snapshot().manifests(table.io)
            if manifest.has_added_files() or manifest.has_existing_files()
        ]
        entries = [e for m in manifests for e in m.fetch_manifest_entry(table.io)]
        deletes = [e for e in entries if e.data_file.content.value != 0]
        return len(manifests), len(entries), len(deletes)

    assert await target.run(weight) == (1, 1, 0)


async def test_old_snapshots_expire_with_the_files_that_only_they_use(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.lakehouse.publish import snapshots

    monkeypatch.setattr(snapshots, "KEEP", 3)
    monkeypatch.setattr(snapshots, "KEEP_SECONDS", 0.0)
    runs = [uuid4().hex for _ in range(9)]
    for number, run_id in enumerate(runs):
        await target.replace(pa.table({"a": [number]}), run_id)
    retained = await target.run(lambda c: len(c.load_table(target.name).snapshots()))
    assert retained <= 6
    data = {name for name in await target.files() if name.endswith(".parquet")}
    assert len(data) == retained
    assert await target.rows() == [{"a": 8}]
    gone = await target.run(lambda c: publish.find_published(c, target.name, runs[0]))
    assert gone is None


async def test_a_replacement_removes_delete_files_of_other_engines(
    target: Target,
) -> None:
    await target.replace(pa.table({"a": [1, 2, 3]}))

    def delete_by_duckdb(catalog: Any) -> None:
        import duckdb

        from app.warehouse.duckdb.session import (
            EXTENSIONS,
            attach,
            catalog_secret,
            extension_file,
            s3_secret,
        )

        lake = target.lakehouse.lake
        with duckdb.connect() as connection:
            for name in EXTENSIONS:
                connection.load_extension(str(extension_file(name)))
            connection.execute(s3_secret(lake))
            connection.execute(catalog_secret(lake))
            connection.execute(attach(lake).replace("READ_ONLY true", "READ_ONLY false"))
            connection.execute(f"DELETE FROM iceberg.{target.name} WHERE a = 2")

    await target.run(delete_by_duckdb)
    assert sorted(row["a"] for row in await target.rows()) == [1, 3]
    done = await target.replace(pa.table({"a": [4, 5]}))
    assert (done.rows, done.files) == (2, 1)

    def summary(catalog: Any) -> tuple[str, int]:
        table = catalog.load_table(target.name)
        snapshot = table.current_snapshot()
        deletes = [m for m in snapshot.manifests(table.io) if m.content.value == 1]
        return snapshot.summary["total-delete-files"], len(deletes)

    assert await target.run(summary) == ("0", 0)
    assert sorted(row["a"] for row in await target.rows()) == [4, 5]


async def test_a_large_result_is_written_one_row_group_at_a_time(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.lakehouse.publish import data_files

    monkeypatch.setattr(data_files, "ROW_GROUP_BYTES", 80_000)
    monkeypatch.setattr(data_files, "FILE_BYTES", 400_000)
    schema = pa.schema([("a", pa.int64())])
    ahead = 0
    most = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal ahead, most
        for start in range(0, 100_000, 1000):
            ahead += 1
            most = max(most, ahead)
            yield pa.record_batch({"a": list(range(start, start + 1000))})

    real = data_files._FileWriter.write

    def counted(self: Any, rows: pa.Table) -> None:
        nonlocal ahead
        ahead = 0
        real(self, rows)

    monkeypatch.setattr(data_files._FileWriter, "write", counted)
    rows = pa.RecordBatchReader.from_batches(schema, batches())
    done = await target.run(
        lambda c: publish.replace_table(c, target.name, rows, run_id=uuid4().hex)
    )
    assert most <= 11
    assert (done.rows, done.files) == (100_000, 2)
    assert sum(row["a"] for row in await target.rows()) == sum(range(100_000))


@pytest.mark.parametrize(
    "names", [("a b", "a_x20b"), ("1a", "_1a")], ids=["a special character", "a leading digit"]
)
async def test_columns_that_files_cannot_tell_apart_are_refused(
    target: Target, names: tuple[str, str]
) -> None:
    first, second = names
    await target.replace(pa.table({first: [1]}))
    before = await target.files()
    struct = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], [first, second])
    refused = [
        target.replace(pa.table({first: [1], second: [2]})),
        target.append(pa.table({first: [1], second: [2]}), add_columns=True),
        target.replace(pa.table({"s": struct})),
        target.replace(pa.table({"s": pa.ListArray.from_arrays([0, 1], struct)})),
    ]
    for attempt in refused:
        with pytest.raises(EngineFailed, match=f"'{first}' and '{second}' get the same") as caught:
            await attempt
        assert caught.value.cause is FailureCause.SQL_ERROR
    assert await target.files() == before
    assert await target.rows() == [{first: 1}]
