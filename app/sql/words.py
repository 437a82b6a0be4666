"""Corrects tokens that sqlglot reads in another way than the engine, before it parses them."""

import re
from itertools import pairwise

from sqlglot.dialects.dialect import Dialect
from sqlglot.dialects.trino import Trino
from sqlglot.tokenizer_core import Token, TokenType

from app.errors import SqlNotParsed
from app.sql.jinja import position_at

_POSTFIX_OPERATORS = {TokenType.ISNULL, TokenType.NOTNULL}
_CANNOT_START_ITEM = {
    *(TokenType.ALIAS, TokenType.COMMA, TokenType.DOT, TokenType.FROM, TokenType.R_PAREN),
    *(TokenType.L_BRACKET, TokenType.SEMICOLON, TokenType.SLASH, TokenType.PERCENT),
    *(TokenType.EQ, TokenType.NEQ, TokenType.GT, TokenType.GTE, TokenType.LT, TokenType.LTE),
    *(TokenType.AND, TokenType.OR, TokenType.IS, TokenType.IN, TokenType.LIKE, TokenType.BETWEEN),
    *(TokenType.DPIPE, TokenType.WHERE, TokenType.GROUP_BY, TokenType.HAVING, TokenType.WINDOW),
    *(TokenType.ORDER_BY, TokenType.LIMIT, TokenType.OFFSET, TokenType.FETCH),
    *(TokenType.UNION, TokenType.EXCEPT, TokenType.INTERSECT),
}
_OPERATORS = {TokenType.IN, TokenType.ANY, TokenType.ALL, TokenType.SOME}
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
MOST_DIGITS = 38
MOST_INTEGER = 2**63 - 1
_SIZED = {TokenType.CHAR, TokenType.DECIMAL}
"""Types whose literals, such as `DECIMAL '1.25'`, take their size from the text. sqlglot reads such
a literal as a cast. A cast to CHAR keeps one character, one to DECIMAL no digits after the
point."""


def read_words_as_names(tokens: list[Token], dialect: type[Dialect]) -> None:
    """Turn words that the engine does not read as keywords into names, in place."""
    for number, token in enumerate(tokens):
        following = tokens[number + 1 : number + 3]
        is_name = (
            token.token_type in _POSTFIX_OPERATORS
            or (token.token_type is TokenType.FETCH and not _is_clause(following, dialect))
            or (token.token_type is TokenType.ALL and _is_column(tokens[:number], following))
        )
        if is_name:
            token.token_type = TokenType.VAR


def read_hexadecimal_numbers(sql: str, tokens: list[Token], dialect: type[Dialect]) -> None:
    """Turn `0x1F` into the number 31, in place, as Trino reads it. sqlglot takes it for `X'1F'`."""
    for token in tokens:
        written = sql[token.start : token.end + 1]
        if token.token_type is not TokenType.HEX_STRING or not written.lower().startswith("0x"):
            continue
        is_whole = token.text.isalnum() and sql[token.end + 1 : token.end + 2] != "."
        value = int(token.text, 16) if is_whole else MOST_INTEGER + 1
        if not issubclass(dialect, Trino) or value > MOST_INTEGER:
            raise SqlNotParsed(
                f"The SQL does not parse: {written[:40]} is not a number here. Write it in "
                "decimal.",
                position=position_at(sql, token.start),
            )
        token.token_type, token.text = TokenType.NUMBER, str(value)


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
    """Return whether ALL is a column, not the opposite of DISTINCT in a SELECT or a call."""
    is_quantifier_place = bool(before) and (
        before[-1].token_type is TokenType.SELECT or _opens_call(before)
    )
    is_item = bool(following) and following[0].token_type not in _CANNOT_START_ITEM
    return is_quantifier_place and not is_item


def _opens_call(before: list[Token]) -> bool:
    if len(before) < 2 or before[-1].token_type is not TokenType.L_PAREN:
        return False
    return before[-2].text.replace("_", "").isalnum() and before[-2].token_type not in _OPERATORS


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
        return (len(text.encode("utf-16-le", "surrogatepass")) // 2,)  # as Trino counts
    whole, _, fraction = text.lstrip("+-").partition(".")
    width = max(1, len(whole.lstrip("0") + fraction), len(fraction))
    if not _DECIMAL.fullmatch(text) or width > MOST_DIGITS:
        raise SqlNotParsed(f"The SQL does not parse: {text[:40]!r} is not a valid DECIMAL literal.")
    return width, len(fraction)


def _like(place: Token, kind: TokenType, text: str) -> Token:
    return Token(kind, text, line=place.line, col=place.col, start=place.start, end=place.end)
