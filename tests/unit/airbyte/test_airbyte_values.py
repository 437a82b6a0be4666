"""Pure parts of ingestion: names, types, CSV records, allowed connectors, stream paths."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.airbyte.bronze_paths import refuse_relative
from app.airbyte.engine import Stream, StreamSelection, SyncMode
from app.airbyte.file_formats import FileFormat, FileKind, Packing
from app.airbyte.local.bronze_types import (
    MOST_COLUMNS,
    BronzeType,
    DoesNotFit,
    fit,
    shown,
    unique_names,
)
from app.airbyte.local.connectors.packages import allowed_packages
from app.airbyte.local.files.csv import CsvDialect, csv_records
from app.airbyte.local.records import configured, stream_path
from app.airbyte.remote.resources import CONNECTION, _require_id
from app.config import ConfigurationError
from app.errors import (
    InvalidRequest,
    NotFound,
    NotSupported,
    PathRefused,
    SourceUnreadable,
)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("flights.csv.zip", FileKind(FileFormat.CSV, Packing.ZIP, "flights")),
        ("a.b.TSV", FileKind(FileFormat.TSV, Packing.NONE, "a")),
        ("x.ndjson.gz", FileKind(FileFormat.JSONL, Packing.GZIP, "x")),
        ("x.json", FileKind(FileFormat.JSONL, Packing.NONE, "x")),
        ("x.xlsx", FileKind(None, Packing.NONE, "x")),
        ("x", FileKind(None, Packing.NONE, "x")),
    ],
)
def test_a_file_name_gives_format_packing_and_stream(name: str, kind: FileKind) -> None:
    assert FileKind.of(name) == kind


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, BronzeType.STRING),
        ({"type": ["null", "integer"]}, BronzeType.INTEGER),
        ({"type": "number", "airbyte_type": "integer"}, BronzeType.INTEGER),
        ({"type": "number"}, BronzeType.NUMBER),
        ({"type": "string", "format": "date"}, BronzeType.DATE),
        ({"type": "string", "format": "date-time"}, BronzeType.TIMESTAMP),
        (
            {
                "type": "string",
                "format": "date-time",
                "airbyte_type": "timestamp_without_timezone",
            },
            BronzeType.LOCAL_TIMESTAMP,
        ),
        ({"type": "object"}, BronzeType.JSON),
        ({"type": ["string", "integer"]}, BronzeType.JSON),
        ({}, BronzeType.JSON),
    ],
)
def test_a_json_schema_type_becomes_a_parquet_type(
    schema: dict[str, Any], kind: BronzeType
) -> None:
    assert BronzeType.of(schema) is kind


@pytest.mark.parametrize(
    ("value", "kind", "fitted"),
    [
        (5, BronzeType.STRING, "5"),
        ({"a": None}, BronzeType.STRING, '{"a":null}'),
        (5.0, BronzeType.INTEGER, 5),
        ("-5", BronzeType.INTEGER, -5),
        ("1e3", BronzeType.NUMBER, 1000.0),
        (None, BronzeType.DATE, None),
    ],
)
def test_a_value_that_fits_is_stored(value: Any, kind: BronzeType, fitted: Any) -> None:
    assert fit(value, kind) == fitted


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, BronzeType.INTEGER),
        (5.5, BronzeType.INTEGER),
        (2**63, BronzeType.INTEGER),
        (float("nan"), BronzeType.NUMBER),
        ("yes", BronzeType.BOOLEAN),
        ("2024-02-30", BronzeType.DATE),
        (5, BronzeType.TIMESTAMP),
        ("9" * 5000, BronzeType.INTEGER),
        ("0001-01-01T00:00:00+14:00", BronzeType.TIMESTAMP),
        (nested(100_000), BronzeType.JSON),
    ],
)
def test_a_value_that_does_not_fit_is_refused(value: Any, kind: BronzeType) -> None:
    with pytest.raises(DoesNotFit):
        fit(value, kind)


@given(st.lists(st.text(max_size=6), max_size=8))
def test_column_names_are_unique_whatever_their_case(fields: list[str]) -> None:
    names = unique_names(("_airbyte_meta", *fields))
    assert len(names) == len(fields) + 1
    assert len({name.lower() for name in names}) == len(names)
    assert "_airbyte_meta" not in names
    assert all(name.strip() for name in names)


class Counted(str):
    """A string that counts the names that are created from it."""

    instances = 0

    def strip(self, *_: Any) -> "Counted":
        return self

    def __format__(self, spec: str) -> str:
        Counted.instances += 1
        return super().__format__(spec)


def test_a_name_that_repeats_is_numbered_without_trying_all_numbers_again() -> None:
    assert unique_names(("a", "a", "A", "a_1")) == ("a", "a_1", "A_2", "a_1_1")
    names = unique_names((Counted("a"),) * MOST_COLUMNS)
    assert names[-1] == f"a_{MOST_COLUMNS - 1}"
    assert Counted.instances == MOST_COLUMNS - 1


def test_more_columns_than_a_table_should_have_are_refused() -> None:
    with pytest.raises(SourceUnreadable, match="has 200000 columns; expected at most 10000"):
        CsvDialect.of(b",".join([b"a"] * 200_000) + b"\n")


cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=8))
def test_csv_that_is_well_formed_is_read_as_it_was_written(rows: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    dialect = CsvDialect(",", "\n", ("a", "b"))
    lines = text.getvalue().split("\n")[:-1]
    assert [record.values for record in csv_records(lines, dialect)] == [list(r) for r in rows]


def test_a_broken_record_takes_one_line_and_no_more() -> None:
    lines = ["a,b", "1,2", 'x,"open', "3,4", "", "5", 'y,"clo"sed', '6,"7\n']
    records = [(r.line, r.values) for r in csv_records(lines, CsvDialect(",", "\n", ("a", "b")))]
    assert records == [
        (2, ["1", "2"]), (3, None), (4, ["3", "4"]), (6, None), (7, None), (8, None),
    ]  # fmt: skip


def test_connectors_come_pinned_from_the_allow_list() -> None:
    shipped = allowed_packages(())["faker"]
    assert (shipped.version, shipped.hashed, shipped.program) == ("7.2.1", True, "source-faker")
    assert shipped.spec is not None
    assert shipped.spec["properties"]["count"]["type"] == "integer"
    assert "://" not in shipped.requirements
    more = allowed_packages(("airbyte-source-github==1.8.0", "airbyte-source-faker==7.0.0"))
    assert (more["github"].version, more["github"].hashed) == ("1.8.0", False)
    assert more["faker"].spec is None
    assert more["faker"].directory != shipped.directory


@pytest.mark.parametrize("entry", ["airbyte-source-x", "x==1", "airbyte-source-x==1 --pre", ""])
def test_an_entry_that_is_not_pinned_is_a_start_error(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="CONNECTORS_ALLOWED"):
        allowed_packages((entry,))


@pytest.mark.parametrize(
    ("namespace", "name", "path"),
    [
        (None, "users", "bronze/users"),
        ("public", "users", "bronze/public/users"),
        (None, "../../asgard/runs", "bronze/x.._.._asgard_runs"),
        (None, "_hidden", "bronze/x_hidden"),
        ("a b", "größe", "bronze/a_b/größe"),
    ],
)
def test_a_stream_is_written_below_the_prefix(namespace: str | None, name: str, path: str) -> None:
    assert stream_path("bronze", StreamSelection(name=name, namespace=namespace)) == path


FULL = (SyncMode.FULL_REFRESH_OVERWRITE,)
STREAMS = [
    Stream(name="a", sync_modes=tuple(SyncMode)),
    Stream(name="b", namespace="s", sync_modes=FULL, primary_key=(("id",),)),
]


def test_without_a_selection_every_stream_is_read_in_full() -> None:
    streams = configured(STREAMS, None, "bronze")
    assert [(s.path, s.sync_mode, s.primary_key) for s in streams] == [
        ("bronze/a", SyncMode.FULL_REFRESH_OVERWRITE, ()),
        ("bronze/s/b", SyncMode.FULL_REFRESH_OVERWRITE, (("id",),)),
    ]


@pytest.mark.parametrize(
    ("choice", "error"),
    [
        (StreamSelection(name="c"), InvalidRequest),
        (StreamSelection(name="b", namespace="other"), InvalidRequest),
        (StreamSelection(name="b", sync_mode=SyncMode.INCREMENTAL_APPEND), InvalidRequest),
        (StreamSelection(name="a", sync_mode=SyncMode.INCREMENTAL_APPEND), InvalidRequest),
        (StreamSelection(name="a", sync_mode=SyncMode.INCREMENTAL_DEDUPED_HISTORY), NotSupported),
        (StreamSelection(name="a", sync_mode=SyncMode.FULL_REFRESH_UPDATE), NotSupported),
        (StreamSelection(name="a", sync_mode=SyncMode.INCREMENTAL_SOFT_DELETE), NotSupported),
    ],
)
def test_a_selection_that_the_source_does_not_have_is_refused(
    choice: StreamSelection, error: type[Exception]
) -> None:
    with pytest.raises(error):
        configured(STREAMS, (choice,), "bronze")


def test_a_stream_that_is_selected_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="both be written"):
        configured(STREAMS, (StreamSelection(name="a"), StreamSelection(name="a")), "bronze")


def test_a_value_that_does_not_fit_is_shown_whatever_it_is() -> None:
    assert shown("x" * 5000) == '"' + "x" * 999
    assert shown(nested(100_000)) == "a value of the type list that JSON cannot hold"


@pytest.mark.parametrize(
    "id_",
    [
        *("0E86748E-5EF0-4B5B-BBB3-C5C2D5F1A0E1", "e86748e-5ef0-4b5b-bbb3-c5c2d5f1a0e1"),
        *("0e86748e5ef04b5bbbb3c5c2d5f1a0e1", "../workspaces", "0e86748e-5ef0-4b5b-bbb3", ""),
    ],
)
def test_airbyte_is_asked_only_for_the_one_spelling_of_an_id(id_: str) -> None:
    with pytest.raises(NotFound):
        _require_id(CONNECTION, id_)
    _require_id(CONNECTION, "0e86748e-5ef0-4b5b-bbb3-c5c2d5f1a0e1")


@pytest.mark.parametrize("path", ["bronze/shop/../orders", "bronze/./orders", "..", "bronze/a/.."])
def test_a_relative_folder_in_a_streams_path_is_refused(path: str) -> None:
    with pytest.raises(PathRefused):
        refuse_relative(path)
    refuse_relative("bronze/shop..x/.orders/a.b")
