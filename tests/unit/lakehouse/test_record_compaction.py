"""What a rewritten data file of records has, and which files are rewritten."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record

from app.lakehouse.records.compaction import MOST_BYTES, newest_versions, small_files

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("op", pa.string(), nullable=False),
        pa.field("updated_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("doc", pa.string(), nullable=False),
    ]
)


def rows(*found: tuple[str, int, str, int]) -> pa.Table:
    """Rows of (id, version, op, age in minutes). Each document names its version."""
    return pa.Table.from_pylist(
        [
            {
                "id": record_id,
                "version": version,
                "op": op,
                "updated_at": NOW - timedelta(minutes=age),
                "doc": f"{record_id}{version}",
            }
            for record_id, version, op, age in found
        ],
        schema=SCHEMA,
    )


def shown(table: pa.Table) -> list[tuple[str, int, str]]:
    return [(row["id"], row["version"], row["doc"]) for row in table.to_pylist()]


def file(number: int, size: int) -> DataFile:
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=f"s3://lake/{number}.parquet",
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=1,
        file_size_in_bytes=size,
    )


def test_the_newest_version_of_each_record_is_kept():
    kept = newest_versions(
        rows(("a", 1, "put", 50), ("b", 1, "put", 50), ("a", 3, "put", 30), ("a", 2, "put", 40)),
        NOW,
    )
    assert shown(kept) == [("b", 1, "b1"), ("a", 3, "a3")]
    assert kept.schema == SCHEMA


def test_a_recent_older_version_keeps_its_row_without_the_document():
    kept = newest_versions(rows(("a", 1, "put", 6), ("a", 2, "put", 4), ("a", 3, "put", 3)), NOW)
    assert shown(kept) == [("a", 3, "a3"), ("a", 2, "")]


def test_a_deletion_is_kept_without_its_document():
    kept = newest_versions(rows(("a", 1, "put", 50), ("a", 2, "delete", 50)), NOW)
    assert [(row["version"], row["op"], row["doc"]) for row in kept.to_pylist()] == [
        (2, "delete", "")
    ]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.integers(1, 9),
            st.sampled_from(["put", "delete"]),
            st.integers(0, 20),
        ),
        unique_by=lambda row: row[:2],
        min_size=1,
    )
)
def test_rewriting_again_changes_no_newest_version(found):
    def newest(table: pa.Table) -> dict[str, tuple[int, str]]:
        ordered = sorted(table.to_pylist(), key=lambda row: row["version"])
        return {row["id"]: (row["version"], row["op"]) for row in ordered}

    once = newest_versions(rows(*found), NOW)
    assert newest(once) == newest(rows(*found))
    assert shown(newest_versions(once, NOW)) == shown(once)
    documents = {row["id"]: row["doc"] for row in once.to_pylist() if row["doc"]}
    assert documents == {
        record_id: f"{record_id}{version}"
        for record_id, (version, op) in newest(once).items()
        if op == "put"
    }


def test_small_files_are_rewritten_and_a_large_one_stays():
    files = [file(0, 5_000), *(file(number, 10) for number in range(1, 100))]
    assert {chosen.file_path for chosen in small_files(files)} == {f.file_path for f in files[1:]}


def test_files_of_the_largest_size_are_not_rewritten():
    assert small_files([file(number, MOST_BYTES + 1) for number in range(9)]) == []
    assert small_files([file(0, 10)]) == []


@given(st.lists(st.integers(1, MOST_BYTES // 150), max_size=150))
def test_few_files_stay_beside_the_rewritten_one(sizes):
    files = [file(number, size) for number, size in enumerate(sizes)]
    chosen = {chosen.file_path for chosen in small_files(files)}
    left = [f.file_size_in_bytes for f in files if f.file_path not in chosen]
    assert len(left) <= MOST_BYTES.bit_length()
    assert len(chosen) != 1


@given(st.lists(st.integers(1, 2 * MOST_BYTES), max_size=50))
def test_a_rewrite_reads_no_more_than_fits_into_memory(sizes):
    chosen = small_files([file(number, size) for number, size in enumerate(sizes)])
    assert sum(file.file_size_in_bytes for file in chosen) <= MOST_BYTES
