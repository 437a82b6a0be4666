"""Where the metadata of a table may place it."""

import pytest

from app.errors import TableRefused
from app.lakehouse.locations import Location, TableLocations, place_of

EMBEDDED = TableLocations("lake", tables_under="s3://warehouse")
EXTERNAL = TableLocations("lake")
GOLD = ("gold", "t")


@pytest.mark.parametrize("location", ["s3://b/gold/t", "s3a://b/gold/t/", "s3n://b//gold/t"])
def test_addresses_of_s3_name_a_bucket_and_a_path(location):
    assert place_of(location) == Location("b", ("gold", "t"))


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://b/gold/t",
        "hdfs://b/gold/t",
        "s3:///gold/t",
        "s3://b/gold/../asgard",
        "s3://b/./gold/t",
        "s3://b/gold/t?x=1",
        "s3://b/gold/t#x",
        "s3://b/gold/t\n",
        "s3://[b/gold",
        "__import__('os')",
    ],
)
def test_what_is_not_plainly_an_address_of_s3_has_no_place(location):
    assert place_of(location) is None


def test_the_embedded_lake_has_one_place_for_a_table():
    metadata = "s3://warehouse/gold/t/metadata/v1.metadata.json"
    EMBEDDED.require_place(GOLD, "s3://warehouse/gold/t", metadata)
    EMBEDDED.require_place(GOLD, "s3://warehouse/gold/t/", None)
    for location, file in [
        ("s3://warehouse/asgard/t", metadata),
        ("s3://warehouse/gold/t2", metadata),
        ("s3://warehouse/gold/t/deeper", metadata),
        ("s3://warehouse/gold", metadata),
        ("s3://lake/gold/t", metadata),
        ("s3://warehouse/gold/t", "s3://warehouse/asgard/t/metadata/v1.metadata.json"),
        ("s3://warehouse/gold/t", "file:///v1.metadata.json"),
    ]:
        with pytest.raises(TableRefused, match=r"expected s3://warehouse/gold/t"):
            EMBEDDED.require_place(GOLD, location, file)


def test_an_external_lake_has_its_tables_anywhere_on_s3_but_among_asgards_files():
    for location in ("s3://other/x", "s3a://lake/gold/t_1", "s3://lake/asgard_records/runs"):
        EXTERNAL.require_place(GOLD, location, "http://nessie/x")
    for location in ("s3://lake", "s3://lake/asgard/runs/open", "s3a://lake/asgard", "gs://b/t"):
        with pytest.raises(TableRefused, match=r"gold\.t names the location"):
            EXTERNAL.require_place(GOLD, location, None)


def test_a_drop_needs_a_place_apart_from_other_schemas():
    schemas = {
        "gold": "s3://lake/gold",
        "silver": "s3://lake/silver",
        "asgard": "s3://lake/asgard_records",
    }
    for location in ("s3://lake/gold/t", "s3://lake/other/t", "s3://b/silver"):
        EXTERNAL.require_own(GOLD, location, schemas)
    for location in ("s3a://lake/silver/t", "s3://lake/asgard_records", "s3://lake"):
        with pytest.raises(TableRefused, match="has its files there"):
            EXTERNAL.require_own(GOLD, location, schemas)


def test_a_table_in_the_place_of_another_schema_is_not_written():
    lake = TableLocations("lake", schemas={"gold": "s3://lake/gold", "silver": "s3://lake/silver"})
    assert lake.written(GOLD, "s3a://lake/gold/t") == Location("lake", ("gold", "t"))
    assert lake.written(GOLD, "s3://lake/silver/t") is None
    assert lake.written(("silver", "t"), "s3://lake/silver/t") == Location("lake", ("silver", "t"))


def test_a_schema_around_another_one_does_not_own_its_tables():
    schemas = {"gold": "s3://lake/silver/gold", "silver": "s3://lake/silver"}
    EXTERNAL.require_own(GOLD, "s3://lake/silver/gold/t", schemas)
