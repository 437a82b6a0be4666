"""Converts lines and columns, from 1, to offsets in a text and back. Imports nothing heavy."""

from app.sql.jinja import position_at


def offset_at(text: str, at: dict[str, int]) -> int:
    offset = 0
    for _ in range(at["line"] - 1):
        offset = text.find("\n", offset) + 1
    return offset + at["column"] - 1


def within(statement: str, query: str, at: dict[str, int]) -> dict[str, int] | None:
    """Return the position in `query` of a position in a statement that contains it."""
    begins = statement.find(query)
    offset = offset_at(statement, at) - begins
    if begins < 0 or not 0 <= offset <= len(query):
        return None
    return position_at(query, offset)
