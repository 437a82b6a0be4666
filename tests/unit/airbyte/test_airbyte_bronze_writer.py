"""Records become typed Parquet, and `_airbyte_meta` names the values that do not fit."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from app.airbyte.local import bronze_writer
from app.airbyte.local.bronze_types import columns_of
from app.airbyte.local.bronze_writer import StreamWriter, broken_line

TIME = {"type": "string", "format": "date-time"}


def written(
    directory: Path, schema: dict[str, Any], records: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    writer = StreamWriter(directory, columns_of({"properties": schema}), "sync-1")
    for record in records:
        writer.add(record, 1_700_000_000_123)
    writer.cut()
    [file] = writer.take_finished()
    assert file.rows == len(records)
    return pq.read_table(file.path).to_pylist()


@pytest.mark.parametrize(
    ("schema", "values", "expected"),
    [
        ({"type": "integer"}, [1, None, 2], [1, None, 2]),
        ({"type": "integer"}, [1, 1.5, 2.0, True, "7", 2**70], [1, None, 2, None, 7, None]),
        ({"type": "number"}, [1, 2.5, "3", True, "x"], [1.0, 2.5, 3.0, None, None]),
        ({"type": "boolean"}, [True, 1, "true"], [True, None, None]),
        ({"type": "string"}, ["a", 1, {"b": 2}, None], ["a", "1", '{"b":2}', None]),
        ({"type": "array"}, [[1], "x", None], ["[1]", '"x"', None]),
    ],
)
def test_values_fit_or_are_null(
    tmp_path: Path, schema: dict[str, Any], values: list[Any], expected: list[Any]
) -> None:
    rows = written(tmp_path, {"v": schema}, [{"v": value} for value in values])
    assert [row["v"] for row in rows] == expected
    for value, row in zip(values, rows, strict=True):
        changes = json.loads(row["_airbyte_meta"])["changes"]
        nulled = value is not None and row["v"] is None
        assert [change["field"] for change in changes] == (["v"] if nulled else [])


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-02-29T12:00:00Z", "2024-02-29T14:00:00+02:00"],
        ["2024-02-29T12:00:00", "2024-02-29 12:00:00.000000"],
        ["2024-02-29T12:00:00", "2024-02-29T12:00:00Z"],
    ],
)
def test_times_are_in_utc_in_every_notation(tmp_path: Path, texts: list[str]) -> None:
    rows = written(tmp_path, {"at": TIME}, [{"at": text} for text in texts])
    assert [row["at"].isoformat() for row in rows] == ["2024-02-29T12:00:00+00:00"] * 2


def test_every_row_has_an_id_a_time_and_its_sync(tmp_path: Path) -> None:
    rows = written(tmp_path, {}, [{"unknown": 1}] * 3)
    assert len({row["_airbyte_raw_id"] for row in rows}) == 3
    assert {row["_airbyte_extracted_at"].timestamp() for row in rows} == {1_700_000_000.123}
    assert {row["_airbyte_meta"] for row in rows} == {'{"changes":[],"sync_id":"sync-1"}'}


def test_a_broken_line_is_a_row_of_nulls(tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path, columns_of({"properties": {"a": TIME}}), "sync-1")
    writer.add_broken(broken_line(7, "2 fields", "x,y"), 0)
    writer.cut()
    [row] = pq.read_table(writer.take_finished()[0].path).to_pylist()
    assert row["a"] is None
    [change] = json.loads(row["_airbyte_meta"])["changes"]
    assert (change["line"], change["error"], change["raw"]) == (7, "2 fields", "x,y")


def test_a_file_is_rolled_when_it_is_large_but_still_waits_for_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bronze_writer, "FILE_BYTES", 1)
    monkeypatch.setattr(bronze_writer, "FIRST_BATCH_ROWS", 2)
    monkeypatch.setattr(bronze_writer, "BATCH_ROWS", 2)
    writer = StreamWriter(tmp_path, columns_of({"properties": {"a": {"type": "integer"}}}), "s")
    for number in range(5):
        writer.add({"a": number}, 0)
    assert [file.part for file in writer.finished] == [0, 1]
    assert writer.pending_rows == 5
    writer.cut()
    assert writer.pending_rows == 0
    files = writer.take_finished()
    assert [(file.part, file.rows) for file in files] == [(0, 2), (1, 2), (2, 1)]
    read = [row["a"] for file in files for row in pq.read_table(file.path).to_pylist()]
    assert read == [0, 1, 2, 3, 4]
