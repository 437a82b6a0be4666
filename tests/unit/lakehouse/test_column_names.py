"""Names of columns and fields, from data, that a table would cut off or could not be read with."""

import pyarrow as pa
import pytest

from app.airbyte.local.bronze_types import unique_names
from app.errors import EngineFailed
from app.failure import FailureCause
from app.lakehouse.publish.columns import lake_schema

INT = pa.int64()


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("a\0b", INT, "NUL"),
        ("s", pa.struct([("x\0", INT)]), "NUL"),
        ("s", pa.list_(pa.struct([("x\0", INT)])), "NUL"),
        ("s", pa.map_(pa.string(), pa.struct([("x\0", INT)])), "NUL"),
        ("", INT, "no name"),
        ("s", pa.struct([("", INT)]), "no name"),
        ("s", pa.struct([("a", INT), ("A", INT)]), "several fields"),
        ("s", pa.struct([("a", INT), ("a", INT)]), "several fields"),
        ("s", pa.list_(pa.struct([("t", pa.struct([("é", INT), ("É", INT)]))])), "'s.t'"),
    ],
)
def test_a_name_that_no_engine_could_read_again_is_refused(
    name: str, kind: pa.DataType, says: str
) -> None:
    with pytest.raises(EngineFailed, match=says) as refused:
        lake_schema(pa.schema([("good", INT), (name, kind)]))
    assert refused.value.cause is FailureCause.SQL_ERROR


def test_fields_whose_paths_are_equal_are_refused() -> None:
    inner = pa.struct([("a.b", INT), ("a", pa.struct([("b", INT)]))])
    with pytest.raises(EngineFailed, match="cannot be stored"):
        lake_schema(pa.schema([("s", inner), ("x.y", INT)]))


def test_columns_of_files_have_no_nul_in_their_names() -> None:
    assert unique_names(("pay", "pay\0ment", "\0")) == ("pay", "pay_ment", "_")


def test_lists_and_maps_keep_their_own_names() -> None:
    kinds = {"l": pa.list_(INT), "m": pa.map_(pa.string(), pa.list_(INT)), "key": INT, "value": INT}
    assert lake_schema(pa.schema(list(kinds.items()))).names == list(kinds)
