from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.runs.ended_runs import position
from app.runs.model import Run, RunKind
from app.runs.pages import decode_cursor, encode_cursor, page_of

START = datetime(2013, 1, 1, tzinfo=UTC)
run_ids = st.text("0123456789abcdef", min_size=12, max_size=32)
runs = st.builds(
    lambda run_id, seconds: Run(
        run_id=run_id,
        kind=RunKind.DBT,
        target="gold.t",
        created_at=START + timedelta(seconds=seconds),
        created_by="me",
    ),
    run_ids,
    st.integers(0, 5),  # few moments, so that many runs share one
)


@given(st.datetimes(timezones=st.just(UTC)), run_ids)
def test_a_cursor_decodes_to_its_position(when, run_id):
    assert decode_cursor(encode_cursor((when, run_id))) == (when, run_id)


@given(st.text(max_size=60))
def test_any_text_is_a_valid_cursor_or_is_refused(text):
    with suppress(InvalidRequest):
        decoded = decode_cursor(text)
        assert decode_cursor(encode_cursor(decoded)) == decoded


@given(st.lists(runs, unique_by=lambda run: run.run_id, max_size=30), st.integers(1, 7))
def test_all_pages_together_have_each_run_once_newest_first(found, limit):
    cursor, seen, pages = None, [], 0
    while True:
        page = page_of(found, cursor, limit)
        assert page.total_count == len(found)
        assert len(page.runs) <= limit
        seen += page.runs
        pages += 1
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sorted(found, key=position, reverse=True)
    assert pages == max(1, -(-len(found) // limit))


@given(
    st.lists(runs, unique_by=lambda run: run.run_id, min_size=2, max_size=20),
    st.data(),
)
def test_runs_that_start_between_two_pages_do_not_shift_them(found, data):
    limit = data.draw(st.integers(1, len(found) - 1))
    first = page_of(found, None, limit)
    newer = Run(
        run_id="f" * 33,
        kind=RunKind.DBT,
        target="gold.t",
        created_at=START + timedelta(days=1),
        created_by="me",
    )
    second = page_of([*found, newer], first.next_cursor, 100)
    assert [*first.runs, *second.runs] == sorted(found, key=position, reverse=True)


@pytest.mark.parametrize("cursor", ["", "x", "bm90LWEtZGF0ZXx4", "MjAxMy0wMS0wMQ", "é", "a=b"])
def test_the_error_for_an_invalid_cursor_names_it(cursor):
    with pytest.raises(InvalidRequest, match="cursor"):
        decode_cursor(cursor)
