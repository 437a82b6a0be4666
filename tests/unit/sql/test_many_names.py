"""The work for names that a caller, a source or a directory chooses grows no faster than their
number. Each test has so many names that a comparison of all pairs would not end in time."""

from pathlib import Path

import pytest

from app.airbyte.bronze_paths import PathIndex, Writes, refuse_taken
from app.airbyte.engine import Stream, StreamSelection
from app.airbyte.local.files.paths import MOST_FILES, FileChoice, bucket_streams, local_streams
from app.airbyte.local.records import configured
from app.airbyte.streams import MOST_STREAMS
from app.errors import Conflict, InvalidRequest, PathRefused

MANY = 200_000


def streams(count: int, namespaces: bool = False) -> list[Stream]:
    return [
        Stream(
            name="same" if namespaces else f"stream_{number}",
            namespace=f"space_{number}" if namespaces else None,
            sync_modes=None,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("namespaces", [False, True])
def test_all_streams_of_a_source_are_found_by_name(namespaces: bool) -> None:
    found = configured(streams(MOST_STREAMS, namespaces), None, "bronze")
    assert len(found) == MOST_STREAMS
    last = "space_999/same" if namespaces else "stream_999"
    assert found[-1].path == f"bronze/{last}"


def test_a_stream_is_found_by_name_alone_if_only_one_has_it() -> None:
    source = [
        Stream(name="a", namespace="x", sync_modes=None),
        Stream(name="b", namespace="x", sync_modes=None),
        Stream(name="b", namespace="y", sync_modes=None),
    ]
    assert configured(source, (StreamSelection(name="a"),), "bronze")[0].path == "bronze/x/a"
    [found] = configured(source, (StreamSelection(name="b", namespace="y"),), "bronze")
    assert found.path == "bronze/y/b"
    for name, namespace, reason in (
        ("b", None, "several streams named b"),
        ("a", "y", "no stream a"),
        ("c", None, "no stream c"),
    ):
        with pytest.raises(InvalidRequest, match=reason) as refused:
            configured(source, (StreamSelection(name=name, namespace=namespace),), "bronze")
        assert refused.value.members["streams"] == ["a", "b", "b"]


def test_an_ingestion_of_too_many_streams_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="has 1001 streams: expected at most 1000"):
        configured(streams(MOST_STREAMS + 1), None, "bronze")


def test_a_path_overlaps_those_that_equal_contain_or_lie_below_it() -> None:
    index = PathIndex(["bronze/a", "bronze/a/b", "bronze/c/d", "bronze/e"])
    overlapping = ["bronze", "bronze/a", "bronze/a/b/c", "bronze/a/x", "bronze/c", "bronze/e/f"]
    apart = ["bronze/a-b", "bronze/ab", "bronze/c/e", "bronze/a.b/c", "silver", "bronze/d"]
    assert index.overlapping([*apart, *overlapping]) == overlapping
    assert PathIndex([]).overlapping(overlapping) == []


@pytest.mark.thorough
def test_the_paths_of_large_ingestions_are_compared() -> None:
    paths = [f"bronze/new/{number}" for number in range(MANY)]
    other = Writes("1", "other", [f"bronze/old/{number}" for number in range(MANY)])
    refuse_taken(paths, [other], None)
    taken = Writes("2", "taken", [*other.paths, "bronze/new/7/below"])
    refuse_taken(paths, [taken], "2")
    with pytest.raises(Conflict, match=r"taken already writes bronze/new/7/below\."):
        refuse_taken(paths, [other, taken], None)


def test_long_paths_are_compared() -> None:
    folder = "bronze/" + "a/" * 500
    index = PathIndex(f"{folder}{number}" for number in range(20_000))
    assert index.overlapping(f"{folder}x{number}" for number in range(20_000)) == []
    assert index.overlapping([f"{folder}19999/b"]) == [f"{folder}19999/b"]


def test_a_conflict_lists_the_first_of_many_paths() -> None:
    paths = [f"bronze/{number:03}" for number in range(100)]
    with pytest.raises(Conflict, match=r"bronze/018, bronze/019 and 80 more\.$"):
        refuse_taken(paths, [Writes("1", "other", paths)], None)


def test_a_directory_of_too_many_files_is_refused() -> None:
    keys = [f"bronze/{number}.csv" for number in range(MOST_FILES + 1)]
    assert len(bucket_streams(FileChoice("s3://b/bronze"), "bronze", keys[1:])) == MOST_FILES
    with pytest.raises(InvalidRequest, match="has 10001 data files: expected at most 10000"):
        bucket_streams(FileChoice("s3://b/bronze"), "bronze", keys)


NO_TEXT = [
    b"line\nINFO 99 rows read.csv",
    b"esc\x1b[2J.csv",
    b"latin-\xe9.csv",
    b"\xe2\x80\xa8.csv",
]


@pytest.mark.parametrize("name", NO_TEXT)
def test_a_file_whose_name_is_no_text_is_left_out_of_a_directory(
    tmp_path: Path, name: bytes
) -> None:
    (tmp_path / "good.csv").write_text("a\n1\n")
    Path((str(tmp_path).encode() + b"/" + name).decode(errors="surrogateescape")).write_text("a\n")
    [found] = local_streams(FileChoice(str(tmp_path)), [tmp_path], tmp_path / "home")
    assert found.label == "good.csv"


@pytest.mark.parametrize("name", NO_TEXT)
def test_a_file_whose_name_is_no_text_is_refused(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / name.decode(errors="surrogateescape")
    path.write_text("a\n1\n")
    (tmp_path / "link.csv").symlink_to(path)
    for url in (str(path), str(tmp_path / "link.csv")):
        with pytest.raises(PathRefused, match="cannot contain control characters"):
            local_streams(FileChoice(url), [tmp_path], tmp_path / "home")
    key = "bronze/" + name.decode(errors="surrogateescape")
    with pytest.raises(PathRefused, match="cannot contain control characters"):
        bucket_streams(FileChoice(f"s3://b/{key}"), key, [key])
