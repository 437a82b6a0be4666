"""The result file of a sandboxed worker, which a hostile program may have written."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from app import disk
from app.errors import EngineFailed
from app.lakehouse.embedded.lakehouse import FULL, ROOM
from app.lakehouse.publish.result_file import RESULT, discard_result, open_result, write_result

ROWS = pa.table({"id": [1, 2, 3], "name": ["one", "two", "three"]})


def test_rows_arrive_as_they_were_written(tmp_path: Path) -> None:
    write_result(tmp_path, ROWS.schema, ROWS.to_batches(max_chunksize=2))
    with open_result(tmp_path) as reader:
        batches = list(reader)
    assert [batch.num_rows for batch in batches] == [2, 1]
    assert pa.Table.from_batches(batches) == ROWS
    discard_result(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_result_without_rows_has_its_columns(tmp_path: Path) -> None:
    write_result(tmp_path, ROWS.schema, [])
    with open_result(tmp_path) as reader:
        assert reader.schema == ROWS.schema
        assert list(reader) == []


def test_rows_that_fail_halfway_leave_no_file(tmp_path: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield ROWS.to_batches()[0]
        raise ValueError("divided by zero")

    with pytest.raises(ValueError, match="divided"):
        write_result(tmp_path, ROWS.schema, failing())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk at hand")
def test_a_full_disk_is_named_and_retryable(tmp_path: Path) -> None:
    (tmp_path / RESULT).symlink_to("/dev/full")
    with pytest.raises(EngineFailed, match="disk of the gateway is full") as told:
        write_result(tmp_path, ROWS.schema, ROWS.to_batches())
    assert told.value.retryable


ALL_OF_IT = 2**62
"""A reserve that no disk has."""


def test_rows_leave_the_reserve_of_the_disk_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def filling() -> Iterator[pa.RecordBatch]:
        yield ROWS.to_batches()[0]
        monkeypatch.setattr(disk, "RESERVE", ALL_OF_IT)
        yield ROWS.to_batches()[0]

    with pytest.raises(EngineFailed, match="disk of the gateway is full") as told:
        write_result(tmp_path, ROWS.schema, filling())
    assert told.value.retryable
    assert list(tmp_path.iterdir()) == []


def test_what_is_published_leaves_the_reserve_of_the_disk_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_result(tmp_path, ROWS.schema, ROWS.to_batches(max_chunksize=2))
    with open_result(tmp_path) as reader:
        assert reader.read_next_batch().num_rows == 2
        monkeypatch.setattr(disk, "RESERVE", ALL_OF_IT)
        with pytest.raises(EngineFailed, match="disk of the gateway is full"):
            reader.read_next_batch()


def test_the_reserve_is_more_than_what_restarts_seaweedfs() -> None:
    """After its disk was full, SeaweedFS needs a restart, which all callers see."""
    assert disk.RESERVE > ROOM > FULL


def test_a_truncated_file_is_not_taken_for_a_complete_one(tmp_path: Path) -> None:
    write_result(tmp_path, ROWS.schema, ROWS.to_batches())
    file = tmp_path / RESULT
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(EngineFailed, match="cannot be read"), open_result(tmp_path):
        pass


def test_offsets_outside_of_the_file_are_refused(tmp_path: Path) -> None:
    """Arrow does not check them, and would read the memory of the publisher."""
    names = pa.RecordBatch.from_pydict({"name": ["a", "bc"]})
    with (
        pa.OSFile(str(tmp_path / RESULT), "wb") as file,
        pa.ipc.new_file(file, names.schema) as writer,
    ):
        writer.write_batch(names)
    file = tmp_path / RESULT
    true, false = struct.pack("=3i", 0, 1, 3), struct.pack("=3i", 0, 1, 1 << 20)
    assert file.read_bytes().count(true) == 1
    file.write_bytes(file.read_bytes().replace(true, false))
    with open_result(tmp_path) as reader, pytest.raises(EngineFailed, match="is not valid"):
        list(reader)


def test_a_link_to_another_file_is_not_followed(tmp_path: Path) -> None:
    elsewhere, own = tmp_path / "elsewhere", tmp_path / "own"
    elsewhere.mkdir()
    own.mkdir()
    write_result(elsewhere, ROWS.schema, ROWS.to_batches())
    (own / RESULT).symlink_to(elsewhere / RESULT)
    with pytest.raises(OSError, match=RESULT), open_result(own):
        pass
