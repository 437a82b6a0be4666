"""Paths are normalised before they are compared with what is allowed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import PathRefused
from app.sql.guard.paths import normalise_path
from app.sql.model import SqlPolicy

POLICY = SqlPolicy(allowed_prefixes=("bronze/", "raw/eu"))


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("flights", "bronze/flights"),
        ("flights/2013/", "bronze/flights/2013"),
        ("bronze/flights", "bronze/flights"),
        ("s3://lake/bronze/flights", "bronze/flights"),
        ("s3a://lake//bronze/./flights//", "bronze/flights"),
        ("S3N://lake/bronze/a b", "bronze/a b"),
        ("s3://lake/bronze/a%20b", "bronze/a b"),
        ("raw/eu/x", "raw/eu/x"),
        ("s3://lake/raw/eu/x", "raw/eu/x"),
        ("raw/us/x", "bronze/raw/us/x"),
        ("a..b", "bronze/a..b"),
        (" flights ", "bronze/flights"),
    ],
)
def test_spellings_of_one_path_normalise_to_the_same_key(raw: str, key: str) -> None:
    assert normalise_path(raw, POLICY) == key


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "/",
        "/etc/passwd",
        "~/x",
        "file:/etc/passwd",
        "file:///etc/passwd",
        "http://x/y",
        "hdfs://x/y",
        "s3:bronze/x",
        "s3:///bronze/x",
        "s3://other/bronze/x",
        "s3://lake",
        "s3://lake/bronze",
        "s3://lake/bronzex/y",
        "s3://lake/asgard/runs",
        "s3://lake/bronze/../asgard",
        "../x",
        "a/../../x",
        "%2e%2e/x",
        "%252e%252e/x",
        "s3://lake/bronze/%2e%2e%2fasgard",
        "..\\x",
        "x/*",
        "x/?",
        "x/[a]",
        "x/{a,b}",
        "x%2a",
        "x#y",
        "x\x00",
        "x\ny",
    ],
)
def test_paths_outside_of_the_allowed_prefixes_are_refused(raw: str) -> None:
    with pytest.raises(PathRefused) as refused:
        normalise_path(raw, POLICY)
    assert "s3://lake/bronze/" in str(refused.value.hint)


@given(st.text(alphabet="abronze/.%2eEfs3:ailk*\\~ ", max_size=40) | st.text(max_size=40))
@example("2 /")
@example("2%20")
@example("2/ ./.")
@example("2/.. /")
def test_a_normalised_path_is_below_a_prefix_and_normalises_to_itself(raw: str) -> None:
    try:
        key = normalise_path(raw, POLICY)
    except PathRefused:
        return
    assert key.startswith(("bronze/", "raw/eu/"))
    assert ".." not in key.split("/")
    assert "//" not in key
    assert normalise_path(f"s3://lake/{key}", POLICY) == key
