"""Finds in a caller's SQL what an engine points at in the SQL that it was given."""

from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from app.sql.jinja import position_at
from app.sql.line_columns import offset_at

NEAREST = 8
"""Words that are tried, from the one that the engine points at backwards."""

Word = tuple[str, str]


def place(
    given: str, given_in: type[Dialect], at: dict[str, int], source: str, source_in: type[Dialect]
) -> dict[str, int] | None:
    """Return the position in `source` of the word at `at` in `given`, which was made from it.

    A word counts as the same if both texts have it equally often, since names keep their order when
    SQL is rewritten. For any other word, return the position of the nearest such word before it.
    """
    try:
        tokens, wanted = given_in().tokenize(given), source_in().tokenize(source)
    except (SqlglotError, ValueError, IndexError):
        return None
    words, sought = [_word(token) for token in tokens], [_word(token) for token in wanted]
    offset = offset_at(given, at)
    number = max((k for k, token in enumerate(tokens) if token.start <= offset), default=-1)
    for index in range(number, max(-1, number - NEAREST), -1):
        word = words[index]
        found = [k for k, other in enumerate(sought) if other == word]
        if len(found) == words.count(word):
            return position_at(source, wanted[found[words[:index].count(word)]].start)
    return None


def _word(token: Token) -> Word:
    if token.token_type is TokenType.STRING:
        return "string", token.text
    named = token.token_type is TokenType.IDENTIFIER
    if named or token.text[:1].isalpha() or token.text[:1] == "_":
        return "word", token.text.casefold()
    return "sign", token.token_type.name
