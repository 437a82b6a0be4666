"""A table's name is derived from the name of its product."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data_products.naming import table_name
from app.errors import InvalidRequest


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("Customer 360 Analytics", "dp_customer_360_analytics"),
        ("  Customer -- 360/analytics!", "dp_customer_360_analytics"),
        ("Café Überblick", "dp_cafe_uberblick"),
        ("Straße", "dp_strasse"),
        ("Øresund Æbler", "dp_oresund_aebler"),
        ("İzmir", "dp_izmir"),
        ("42", "dp_42"),
        ("売上 2013", "dp_2013"),
        ("ﬁnance Ⅳ", "dp_finance_iv"),
        ("drop table x; --", "dp_drop_table_x"),
    ],
)
def test_a_name_gives_its_table(name: str, table: str) -> None:
    assert table_name(name) == table


@pytest.mark.parametrize("name", ["売上", "!!!", " ", "", "🙂"])
def test_a_name_without_a_letter_or_digit_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        table_name(name)
    assert refused.value.members["field"] == "name"


def test_a_name_of_100_characters_passes_and_of_101_does_not() -> None:
    assert table_name("a" * 100) == "dp_" + "a" * 100
    with pytest.raises(InvalidRequest, match="101 characters"):
        table_name("a" * 101)


@given(st.text(max_size=100))
def test_every_name_gives_an_identifier_or_is_refused(name: str) -> None:
    try:
        table = table_name(name)
    except InvalidRequest:
        return
    assert re.fullmatch(r"dp_[a-z0-9]+(_[a-z0-9]+)*", table)
    assert len(table) <= 103


@given(st.from_regex(r"[a-z0-9]{1,10}( [a-z0-9]{1,10}){0,5}", fullmatch=True))
def test_case_and_separators_do_not_matter(name: str) -> None:
    assert table_name(name) == table_name(name.upper().replace(" ", " - "))
