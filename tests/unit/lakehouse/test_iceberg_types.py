import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st
from pyiceberg.types import StructType

from app.lakehouse.types import iceberg_type, trino_type
from tests.payloads import PAYLOADS


@pytest.mark.parametrize(
    "spelling",
    [
        "boolean",
        "integer",
        "bigint",
        "real",
        "double",
        "decimal(38,9)",
        "date",
        "time(6)",
        "timestamp(6)",
        "timestamp(6) with time zone",
        "varchar",
        "uuid",
        "varbinary",
        "array(array(bigint))",
        "map(varchar, decimal(10,2))",
        'row("a" bigint, "b, (c)" array(varchar), "d" row("e" timestamp(6) with time zone))',
    ],
)
def test_a_type_survives_conversion_to_iceberg_and_back(spelling):
    assert trino_type(iceberg_type(spelling)) == spelling


@pytest.mark.parametrize(
    ("source_type", "stored_type"),
    [
        ("varchar(20)", "varchar"),
        ("char(3)", "varchar"),
        ("json", "varchar"),
        ("smallint", "integer"),
        ("timestamp(3)", "timestamp(6)"),
        ("decimal(5)", "decimal(5,0)"),
        ("ROW(x INTEGER)", 'row("x" integer)'),
    ],
)
def test_a_type_that_iceberg_lacks_becomes_the_next_wider_one(source_type, stored_type):
    assert trino_type(iceberg_type(source_type)) == stored_type


def test_a_type_that_no_table_can_hold_is_refused_by_name():
    with pytest.raises(ValueError, match="hyperloglog"):
        iceberg_type("hyperloglog")


@given_any(st.lists(st.text(min_size=1) | st.sampled_from(PAYLOADS), min_size=1, unique=True))
def test_every_name_of_a_field_survives_conversion_to_iceberg_and_back(names: list[str]) -> None:
    quoted = (name.replace('"', '""') for name in names)
    fields = ", ".join(f'"{name}" bigint' for name in quoted)
    spelling = f"row({fields})"
    struct = iceberg_type(spelling)
    assert isinstance(struct, StructType)
    assert [field.name for field in struct.fields] == names
    assert trino_type(struct) == spelling
