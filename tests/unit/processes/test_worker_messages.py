"""What a worker sends is checked before anything uses it."""

import json

import pytest

from app.processes.worker_messages import MOST_SPANS, WrongMessage, checked_spans, read_message
from app.shorten import shortened

LONG = 70_000
"""Characters of a text that makes a line too long for the event loop to parse."""


@pytest.mark.parametrize("filling", ["", "x" * LONG])
@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (r'"a \ud800 b"', "a ? b"),
        (r'"\uD83D\uDE00"', "😀"),
        (r'"\uDE00\uD83D"', "??"),
        (r'"\\ud800"', r"\ud800"),
        (r'"\\\ud800"', r"\?"),
        (r'"\n\ud800\ud83d\ude00"', "\n?😀"),
    ],
)
async def test_half_of_a_pair_of_surrogates_becomes_a_question_mark(sent, read, filling) -> None:
    line = f'{{"call": "c", "event": {{"log": {sent}, "filling": "{filling}"}}}}'
    message = await read_message(line.encode())
    assert message["event"]["log"] == read
    error = f'{{"call": "c", "error": {{"type": "SqlInvalid", "message": {sent}}}}}'
    assert (await read_message(error.encode()))["error"]["message"] == read


async def test_a_name_has_no_half_of_a_pair_either() -> None:
    message = await read_message(rb'{"call": "c", "result": {"\udfff": 1}}')
    assert message["result"] == {"?": 1}


def test_a_text_is_shortened_to_one_that_can_be_stored() -> None:
    assert shortened("\ud800 and 😀", 100) == "? and 😀"
    json.dumps(shortened("\ud800" * 200, 100), ensure_ascii=False).encode()


def test_the_number_of_spans_is_bounded() -> None:
    span = {
        "name": "n",
        "span_id": "0" * 16,
        "parent_id": "0" * 16,
        "start": 1,
        "end": 2,
        "error": None,
    }
    assert len(checked_spans([span] * MOST_SPANS)) == MOST_SPANS
    with pytest.raises(WrongMessage, match="more than 1000 spans"):
        checked_spans([span] * (MOST_SPANS + 1))
