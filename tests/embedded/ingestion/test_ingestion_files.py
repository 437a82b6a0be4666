"""File sources, from the file to what a reader of bronze sees.

Of the embedded engine alone: those of Airbyte are read by Airbyte, from where it is.
"""

import gzip
import io
import zipfile
from pathlib import Path

import duckdb
import pytest

from app.airbyte.engine import SyncMode
from app.airbyte.local.files.paths import FileChoice, local_streams
from app.errors import InvalidRequest, PathRefused, SourceNotFound
from app.failure import FailureCause
from app.runs.model import RunState
from tests.harnesses.ingestion import CALLER, IngestionHarness, stream

CSV = 'id,name\n1,Ada\n2,NA\n3,\n4,""\n'
ROWS = [("1", "Ada"), ("2", "NA"), ("3", None), ("4", "")]


def zipped(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", CSV.encode()),
        ("semicolons.csv", CSV.replace(",", ";").encode()),
        ("tabs.tsv", CSV.replace(",", "\t").encode()),
        ("windows.csv", b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode()),
        ("mixed_newlines.csv", CSV.replace("\n", "\r\n", 2).encode()),
        ("packed.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("archive.csv.zip", zipped("inner.csv", CSV)),
    ],
)
async def test_text_files_stay_raw(
    local_harness: IngestionHarness, name: str, content: bytes
) -> None:
    path, run = await local_harness.ingest(name, content)
    assert path == f"bronze/{name.split('.')[0]}"
    assert run.state is RunState.SUCCEEDED, run.failure
    assert await local_harness.rows(path) == ROWS
    assert run.output is not None
    assert [(s.rows, s.broken_rows) for s in run.output.streams] == [(4, 0)]
    assert run.engine_state == "succeeded"


async def test_every_row_gets_airbyte_columns(local_harness: IngestionHarness) -> None:
    path, run = await local_harness.ingest("columns.csv", CSV)
    columns = "typeof(_airbyte_raw_id), typeof(_airbyte_extracted_at), length(_airbyte_raw_id)"
    assert set(await local_harness.rows(path, columns)) == {
        ("VARCHAR", "TIMESTAMP WITH TIME ZONE", 36)
    }
    assert len(set(await local_harness.rows(path, "_airbyte_raw_id"))) == 4
    assert await local_harness.meta(path) == [{"changes": [], "sync_id": run.run_id}] * 4


async def test_json_lines_get_the_types_that_hold_every_value(
    local_harness: IngestionHarness,
) -> None:
    text = '{"a": 1, "b": true, "c": {"d": [1]}}\n{"a": 2.5, "B": "x"}\n\n{"a": null, "c": "s"}\n'
    path, _ = await local_harness.ingest("events.ndjson", text)
    assert await local_harness.rows(path) == [
        (1.0, True, '{"d":[1]}', None),
        (2.5, None, None, "x"),
        (None, None, '"s"', None),
    ]
    assert (await local_harness.rows(path, "typeof(a), typeof(b), typeof(c)"))[0] == (
        "DOUBLE",
        "BOOLEAN",
        "VARCHAR",
    )


async def test_parquet_keeps_its_types(local_harness: IngestionHarness, tmp_path: Path) -> None:
    query = "SELECT 7::UTINYINT AS n, DATE '2024-02-29' AS day, {'x': 1.5::DOUBLE} AS point"
    duckdb.sql(f"COPY ({query}) TO '{tmp_path}/t.parquet' (FORMAT parquet)")
    path, _ = await local_harness.ingest("typed.parquet", (tmp_path / "t.parquet").read_bytes())
    [row] = await local_harness.rows(path, "n, typeof(n), typeof(day), point")
    assert row == (7, "INTEGER", "DATE", {"x": 1.5})


async def test_broken_lines_are_retained_counted_and_named(local_harness: IngestionHarness) -> None:
    text = 'id,name\n1,Ada\n2\n3,x,y\n4,"open\n5,Bob\n6,"two\nlines"\n'
    path, run = await local_harness.ingest("broken.csv", text)
    assert run.output is not None
    [output] = run.output.streams
    assert (output.rows, output.broken_rows) == (6, 3)
    nothing = (None, None)
    assert await local_harness.rows(path) == [
        ("1", "Ada"), nothing, nothing, nothing, ("5", "Bob"), ("6", "two\nlines"),
    ]  # fmt: skip
    changes = [meta["changes"][0] for meta in await local_harness.meta(path) if meta["changes"]]
    assert [(c["line"], c["raw"]) for c in changes] == [(3, "2"), (4, "3,x,y"), (5, '4,"open')]
    assert changes[0]["error"] == "1 fields where the header has 2"
    assert "3 broken lines" in await local_harness.runs.logs(run.run_id)


async def test_broken_json_lines_are_retained_too(local_harness: IngestionHarness) -> None:
    path, run = await local_harness.ingest(
        "broken_events.jsonl", '{"a": 1}\n{"a": \n[2]\n{"a": 3}\n'
    )
    assert run.output is not None
    assert run.output.streams[0].broken_rows == 2
    assert await local_harness.rows(path) == [(1,), (None,), (None,), (3,)]


async def test_each_file_of_a_directory_is_a_stream(local_harness: IngestionHarness) -> None:
    local_harness.write("many/one.csv", "a\n1\n")
    local_harness.write("many/two.jsonl", '{"b": 2}\n')
    local_harness.write("many/notes.md", "not data")
    source = await local_harness.source("file", url=str(local_harness.data / "many"))
    streams = await local_harness.service.streams(source.id)
    assert {s.name: [(c.name, c.type) for c in s.columns] for s in streams} == {
        "one": [("a", "string")],
        "two": [("b", "integer")],
    }
    check = await local_harness.service.check_source(source.id, CALLER)
    assert (check.succeeded, check.message) == (True, "Readable streams: one, two.")
    run = await local_harness.sync(await local_harness.ingestion(source))
    assert run.output is not None
    assert [(s.stream, s.rows) for s in run.output.streams] == [("one", 1), ("two", 1)]


async def test_dataset_name_and_format_take_precedence_over_the_file_name(
    local_harness: IngestionHarness,
) -> None:
    path, _ = await local_harness.ingest("export-7", CSV, dataset_name="people", format="csv")
    assert path == "bronze/people"
    assert len(await local_harness.rows(path)) == 4


async def test_a_file_of_the_bucket_is_a_source_too(local_harness: IngestionHarness) -> None:
    await local_harness.lakehouse.store.put("bronze/landing/drop.csv", CSV.encode())
    url = f"s3://{local_harness.lakehouse.lake.s3.bucket}/bronze/landing"
    ingestion = await local_harness.ingestion(await local_harness.source("file", url=url))
    await local_harness.sync(ingestion)
    assert await local_harness.rows("bronze/drop") == ROWS


async def test_a_full_refresh_hides_the_files_that_it_replaces(
    local_harness: IngestionHarness,
) -> None:
    local_harness.write("again.csv", "n\n1\n2\n")
    ingestion = await local_harness.ingestion(
        await local_harness.source("file", url=str(local_harness.data / "again.csv"))
    )
    await local_harness.sync(ingestion)
    first = await local_harness.keys("bronze/again")
    local_harness.write("again.csv", "n\n3\n")
    await local_harness.sync(ingestion)
    assert await local_harness.rows("bronze/again") == [("3",)]
    assert first < await local_harness.keys("bronze/again"), (
        "readers of the previous version still can"
    )
    await local_harness.sync(ingestion)
    assert not first & await local_harness.keys("bronze/again")


async def test_an_appending_refresh_keeps_earlier_files(local_harness: IngestionHarness) -> None:
    path = local_harness.write("more.csv", "n\n1\n")
    source = await local_harness.source("file", url=str(path))
    ingestion = await local_harness.ingestion(source, stream("more", SyncMode.FULL_REFRESH_APPEND))
    runs = [await local_harness.sync(ingestion), await local_harness.sync(ingestion)]
    assert await local_harness.rows("bronze/more") == [("1",), ("1",)]
    bronze = await local_harness.manifests.resolve("bronze/more")
    assert bronze is not None
    assert bronze.run_ids == tuple(run.run_id for run in runs)
    assert bronze.source == source.name


async def test_a_removed_file_fails_the_sync_and_leaves_bronze_unchanged(
    local_harness: IngestionHarness,
) -> None:
    path = local_harness.write("fleeting.csv", "n\n1\n")
    ingestion = await local_harness.ingestion(await local_harness.source("file", url=str(path)))
    await local_harness.sync(ingestion)
    path.unlink()
    run = await local_harness.sync(ingestion)
    assert run.state is RunState.FAILED
    assert run.failure is not None
    assert (run.failure.cause, str(path) in run.failure.message) == ("table_not_found", True)
    assert await local_harness.rows("bronze/fleeting") == [("1",)]


async def test_paths_outside_the_allowed_directories_are_refused(
    local_harness: IngestionHarness, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text(CSV)
    (local_harness.data / "link.csv").symlink_to(outside)
    (local_harness.data / "linked").mkdir()
    (local_harness.data / "linked" / "a.csv").symlink_to(outside)
    (local_harness.data / "home.csv").symlink_to(local_harness.settings.home / "lakehouse.json")
    urls = [
        outside, "/etc/passwd", f"{local_harness.data}/../outside.csv",
        local_harness.data / "link.csv", local_harness.data / "linked",
        local_harness.data / "home.csv", "http://example.com/x.csv", "s3://other/bronze/x.csv",
        f"s3://{local_harness.lakehouse.lake.s3.bucket}/asgard/runs",
        f"s3://{local_harness.lakehouse.lake.s3.bucket}/bronze/../asgard/runs",
    ]  # fmt: skip
    before = await local_harness.service.sources()
    for url in urls:
        with pytest.raises(PathRefused):
            await local_harness.source("file", url=str(url))
    with pytest.raises(PathRefused) as refused:
        await local_harness.source("file", url=str(outside))
    assert refused.value.members["setting"] == "INGESTION_ALLOWED_DIRS"
    assert await local_harness.service.sources() == before


def test_of_the_home_only_data_may_be_read(tmp_path: Path) -> None:
    """This holds even if a directory that became a link leads to the home."""
    home = tmp_path / "home"
    for folder in ("data", "secrets"):
        (home / folder).mkdir(parents=True)
        (home / folder / "a.csv").write_text(CSV)
    roots = (home / "data", tmp_path)
    with pytest.raises(PathRefused):
        local_streams(FileChoice(url=str(home / "secrets" / "a.csv")), roots, home)
    [found] = local_streams(FileChoice(url=str(home / "data" / "a.csv")), roots, home)
    assert found.path == home / "data" / "a.csv"


async def test_an_invalid_source_is_refused_with_the_reason(
    local_harness: IngestionHarness,
) -> None:
    (local_harness.data / "nothing").mkdir()
    for url in (local_harness.data / "missing.csv", local_harness.data / "nothing"):
        with pytest.raises(SourceNotFound):
            await local_harness.source("file", url=str(url))
    unknown = local_harness.write("unknown.xyz", "x")
    with pytest.raises(InvalidRequest, match="set `format`"):
        await local_harness.source("file", url=str(unknown))
    for name, content, why in (
        ("empty.csv", b"", "no header line"),
        ("binary.csv", b"a\0b\n", "not a text file"),
        ("fake.parquet", b"PAR?", "not a Parquet file"),
        ("two.csv.zip", zipped("a.csv", CSV)[:-4], "cannot be unzipped"),
    ):
        source = await local_harness.source(
            "file", url=str(local_harness.write(f"bad/{name}", content))
        )
        check = await local_harness.service.check_source(source.id, CALLER)
        assert (check.succeeded, why in check.message) == (False, True), check.message
        (local_harness.data / "bad" / name).unlink()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("empty.csv", b"", "no header line"),
        ("fake.parquet", b"PAR1" + b"x" * 100 + b"PAR1", "not a Parquet file"),
        ("cut.csv.gz", gzip.compress(CSV.encode(), mtime=0)[:-9], "cannot be unpacked"),
        ("text.csv.gz", CSV.encode(), "cannot be unpacked"),
        ("lines.jsonl.gz", b'{"a": 1}', "cannot be unpacked"),
        ("short.parquet.gz", gzip.compress(b"PAR1" * 100, mtime=0)[:-9], "cannot be unpacked"),
        ("two.csv.zip", zipped("a.csv", CSV)[:-4], "cannot be unzipped"),
        ("array.json", b'[{"a": 1}, {"a": 2}]', "JSON arrays are not supported"),
    ],
)
async def test_a_file_of_another_format_fails_its_run_with_a_hint(
    local_harness: IngestionHarness, name: str, content: bytes, why: str
) -> None:
    path = local_harness.write(f"broken/broken_{name}", content)
    source = await local_harness.source("file", url=str(path))
    check = await local_harness.service.check_source(source.id, CALLER)
    assert (check.succeeded, why in check.message) == (False, True), check.message
    run = await local_harness.sync(await local_harness.ingestion(source))
    assert run.failure is not None
    assert run.failure.cause is FailureCause.TABLE_NOT_FOUND
    assert why in run.failure.message
    assert run.failure.hint
    assert str(local_harness.data) not in run.failure.message


async def test_incremental_is_refused_for_files(local_harness: IngestionHarness) -> None:
    source = await local_harness.source("file", url=str(local_harness.write("inc.csv", CSV)))
    with pytest.raises(InvalidRequest, match="does not support incremental_append"):
        await local_harness.ingestion(source, stream("inc", SyncMode.INCREMENTAL_APPEND))
    with pytest.raises(InvalidRequest, match="has no stream nope"):
        await local_harness.ingestion(source, stream("nope"))
