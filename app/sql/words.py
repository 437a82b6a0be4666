"""Corrects tokens that sqlglot reads in another way than the engine, before it parses them."""

from itertools import pairwise

from sqlglot.dialects.dialect import Dialect
from sqlglot.dialects.trino import Trino
from sqlglot.tokenizer_core import Token, TokenType

_POSTFIX_OPERATORS = {TokenType.ISNULL, TokenType.NOTNULL}
_STARTS_NO_ITEM = {
    TokenType.ALIAS,
    TokenType.COMMA,
    TokenType.DOT,
    TokenType.EXCEPT,
    TokenType.FROM,
    TokenType.INTERSECT,
    TokenType.LIMIT,
    TokenType.ORDER_BY,
    TokenType.R_PAREN,
    TokenType.SEMICOLON,
    TokenType.UNION,
    TokenType.WHERE,
}
_SIZED = {TokenType.CHAR, TokenType.DECIMAL}
"""Types whose size a literal such as `DECIMAL '1.25'` takes from its text. sqlglot makes a cast of
it, and a cast to CHAR has one character, one to DECIMAL no digits after the point."""


def read_words_as_names(tokens: list[Token], dialect: type[Dialect]) -> None:
    """Turn words into names, in place, where they are no keywords to the engine."""
    for number, token in enumerate(tokens):
        following = tokens[number + 1 : number + 3]
        is_name = (
            token.token_type in _POSTFIX_OPERATORS
            or (token.token_type is TokenType.FETCH and not _is_clause(following, dialect))
            or (token.token_type is TokenType.ALL and _is_column(tokens[:number], following))
        )
        if is_name:
            token.token_type = TokenType.VAR


def with_sized_literals(tokens: list[Token]) -> list[Token]:
    """Return the tokens with `CAST('1.25' AS DECIMAL(3, 2))` for `DECIMAL '1.25'`."""
    sized: list[Token] = []
    skip = False
    for token, following in pairwise([*tokens, *tokens[-1:]]):
        if skip:
            skip = False
        elif token.token_type in _SIZED and following.token_type is TokenType.STRING:
            sized += _cast(token, following)
            skip = True
        else:
            sized.append(token)
    return sized


def _is_clause(following: list[Token], dialect: type[Dialect]) -> bool:
    """Return whether FETCH starts a clause, which Spark does not have."""
    if not issubclass(dialect, Trino) or len(following) < 2:
        return False
    first, second = following
    is_count = second.token_type is TokenType.NUMBER or second.text.upper() in {"ROW", "ROWS"}
    return first.text.upper() in {"FIRST", "NEXT"} and is_count


def _is_column(before: list[Token], following: list[Token]) -> bool:
    """Return whether ALL is a column of a SELECT list, not the opposite of DISTINCT."""
    is_first = bool(before) and before[-1].token_type is TokenType.SELECT
    return is_first and (not following or following[0].token_type in _STARTS_NO_ITEM)


def _cast(type_: Token, text: Token) -> list[Token]:
    sizes = _sizes(type_.token_type, text.text)
    numbers: list[Token] = []
    for size in sizes:
        comma = [_like(text, TokenType.COMMA, ",")] if numbers else []
        numbers += [*comma, _like(text, TokenType.NUMBER, str(size))]
    return [
        _like(type_, TokenType.VAR, "CAST"),
        _like(type_, TokenType.L_PAREN, "("),
        text,
        _like(text, TokenType.ALIAS, "AS"),
        type_,
        _like(text, TokenType.L_PAREN, "("),
        *numbers,
        _like(text, TokenType.R_PAREN, ")"),
        _like(text, TokenType.R_PAREN, ")"),
    ]


def _sizes(type_: TokenType, text: str) -> tuple[int, ...]:
    if type_ is TokenType.CHAR:
        return (len(text),)
    whole, _, fraction = text.lstrip("+-").partition(".")
    width = max(1, len(whole.lstrip("0") + fraction))
    return max(width, len(fraction)), len(fraction)


def _like(place: Token, kind: TokenType, text: str) -> Token:
    return Token(kind, text, line=place.line, col=place.col, start=place.start, end=place.end)
