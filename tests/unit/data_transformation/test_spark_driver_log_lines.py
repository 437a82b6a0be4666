"""Lines of a driver's log, put together from the chunks that the API server sends."""

from app.data_transformation.kubernetes.driver_logs import LONGEST_LINE, LogLines


def read(*chunks: bytes) -> tuple[list[bytes], bytes]:
    lines = LogLines()
    return [lines.complete(chunk) for chunk in chunks], lines.rest()


def test_lines_are_complete_wherever_chunks_end() -> None:
    assert read(b"on", b"e\ntwo\nth", b"ree", b"\n\nfour") == (
        [b"", b"one\ntwo\n", b"", b"three\n\n"],
        b"four",
    )


def test_the_rest_of_a_long_line_is_counted_and_not_kept() -> None:
    chunk = b"x" * 65_536
    complete, rest = read(*[chunk] * 1_000, b"y\nnext\n", b"z" * (LONGEST_LINE + 1))
    assert complete[:-2] == [b""] * 1_000
    more = 65_536 * 1_000 + 1 - LONGEST_LINE
    assert complete[-2] == b"x" * LONGEST_LINE + f"… ({more} more bytes)\nnext\n".encode()
    assert rest == b"z" * LONGEST_LINE + "… (1 more bytes)".encode()


def test_a_long_line_takes_no_more_memory_than_its_start() -> None:
    lines = LogLines()
    for _ in range(100):
        lines.complete(b"x" * 65_536)
        assert len(lines._line) <= LONGEST_LINE
