"""Finds the word in a caller's SQL to which an engine's error position refers."""

from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from app.sql.jinja import position_at
from app.sql.line_columns import offset_at

NEAREST = 8
"""How many words are tried, backwards from the one at the engine's position."""

Word = tuple[str, str]


def source_position(
    engine_sql: str,
    engine_dialect: type[Dialect],
    at: dict[str, int],
    source: str,
    source_dialect: type[Dialect],
) -> dict[str, int] | None:
    """Return the position in `source` of the word at `at` in `engine_sql`, which was made from it.

    A word counts as the same if both texts have it equally often, since names keep their order when
    SQL is rewritten. For any other word, return the position of the nearest such word before it.
    """
    try:
        tokens = engine_dialect().tokenize(engine_sql)
        source_tokens = source_dialect().tokenize(source)
    except (SqlglotError, ValueError, IndexError):
        return None
    words = [_word(token) for token in tokens]
    source_words = [_word(token) for token in source_tokens]
    offset = offset_at(engine_sql, at)
    number = max((k for k, token in enumerate(tokens) if token.start <= offset), default=-1)
    for index in range(number, max(-1, number - NEAREST), -1):
        word = words[index]
        matches = [k for k, other in enumerate(source_words) if other == word]
        if len(matches) == words.count(word):
            match = source_tokens[matches[words[:index].count(word)]]
            return position_at(source, match.start)
    return None


def _word(token: Token) -> Word:
    if token.token_type is TokenType.STRING:
        return "string", token.text
    is_identifier = token.token_type is TokenType.IDENTIFIER
    if is_identifier or token.text[:1].isalpha() or token.text[:1] == "_":
        return "word", token.text.casefold()
    return "sign", token.token_type.name
