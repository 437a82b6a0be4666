"""Parses text into trees, within limits, and leaves every function call as it was written.

sqlglot turns the calls it knows into classes of its own, which loses the name that was written and
translates by rules that are not ours. It leaves a call alone if the closing parenthesis carries the
comment `sqlglot.anonymous`, so here every closing parenthesis does. The guard then checks names and
`duckdb` translates them, each by one table.
"""

import logging
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.dialects.spark import Spark
from sqlglot.dialects.trino import Trino
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from app.errors import SqlNotParsed, SqlNotSelect, SqlRefused, SqlTooLarge
from app.sql.jinja import position_at
from app.sql.limits import check_size
from app.sql.words import read_hexadecimal_numbers, read_words_as_names, with_sized_literals

MAX_NESTING = 50
"""Parentheses, brackets and CASE within one another."""
MAX_CHAIN = 200
"""Operators in a row that nest without parentheses: NOT NOT …, a::b::c, a.b.c, a[1][1]."""
MAX_TYPE_NESTING = 10
"""`name(` and `name[` within one another, where name is a type's: ARRAY[, ROW(, DATE(. sqlglot
tries each as a type and then as a call, which doubles its work with each level."""

# Falling back to `Command` is logged as a warning; here it is a refusal.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)


class TrinoSql(Trino):
    INDEX_OFFSET = 0


class DuckDBSql(DuckDB):
    INDEX_OFFSET = 0


class SparkSql(Spark):
    INDEX_OFFSET = 0


_OPEN = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE}
_CLOSE = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END}
_PREFIXES = {
    TokenType.NOT,
    TokenType.DASH,
    TokenType.PLUS,
    TokenType.TILDE,
    TokenType.INTERVAL,
}
_POSTFIXES = {TokenType.DCOLON, TokenType.DOT, TokenType.LT, TokenType.R_BRACKET}
_READING = {
    TokenType.SELECT,
    TokenType.WITH,
    TokenType.L_PAREN,
    TokenType.VALUES,
    TokenType.TABLE,
    TokenType.FROM,
}
_WRITING = {
    TokenType.INSERT,
    TokenType.UPDATE,
    TokenType.DELETE,
    TokenType.MERGE,
    TokenType.CREATE,
    TokenType.DROP,
    TokenType.ALTER,
    TokenType.TRUNCATE,
}
_NO_ITEM_BEFORE = {
    TokenType.SELECT,
    TokenType.DISTINCT,
    TokenType.L_PAREN,
    TokenType.L_BRACKET,
}
_NO_ITEM_AFTER = {
    TokenType.COMMA,
    TokenType.FROM,
    TokenType.WHERE,
    TokenType.GROUP_BY,
    TokenType.HAVING,
    TokenType.ORDER_BY,
    TokenType.UNION,
    TokenType.R_PAREN,
    TokenType.R_BRACKET,
    TokenType.SEMICOLON,
}
# Calls with a syntax of their own, which only sqlglot's special parsers know. Those that it takes
# for another call (SAFE_CAST, CONVERT) are left out, so that their names are checked.
_SPECIAL_SYNTAX = frozenset(
    (
        *("AND", "OR", "CAST", "TRY_CAST", "EXTRACT"),
        *("TRIM", "POSITION", "SUBSTRING", "SUBSTR", "OVERLAY", "LISTAGG"),
        *("JSON_OBJECT", "JSON_OBJECTAGG", "JSON_QUERY", "JSON_TABLE", "JSON_VALUE"),
        *("OPENJSON", "XMLELEMENT", "XMLTABLE"),
    )
)
_NO_ALIAS_AFTER = {
    TokenType.SELECT,
    TokenType.DISTINCT,
    TokenType.COMMA,
    TokenType.L_PAREN,
    TokenType.FROM,
    TokenType.JOIN,
}
_SPARK_TYPES = frozenset(("ARRAY", "MAP", "STRUCT"))


@dataclass(frozen=True)
class Parsed:
    text: str
    trees: list[exp.Expr]
    start: dict[str, int]
    """The position of the first word."""

    def position(self, node: exp.Expr) -> dict[str, int] | None:
        """Return the position of the first word of `node` that has one."""
        for part in node.walk():
            start = part.meta.get("start")
            if start is not None:
                return position_at(self.text, start)
        return None


def parse(sql: str, dialect: type[Dialect], slack: int = 1) -> Parsed:
    """Parse the statements of `sql` without empty ones. `slack` multiplies the limits.

    Raises:
        SqlTooLarge: more than 256 KiB, or nested too deep.
        SqlNotParsed: with the position, from 1.
        SqlNotSelect: it cannot be read because it is a statement of another kind.
    """
    check_size(sql, slack)
    tokens = _tokens(sql, dialect)
    _measure(sql, tokens, dialect.parser_class.TYPE_TOKENS, slack)
    _refuse_empty_aliases(sql, tokens)
    read_words_as_names(tokens, dialect)
    read_hexadecimal_numbers(sql, tokens, dialect)
    if issubclass(dialect, Trino):
        tokens = with_sized_literals(tokens)
    for token in tokens:
        token.comments = [" sqlglot.anonymous"] if token.token_type is TokenType.R_PAREN else []
    mask = _mask(sql, tokens, dialect)
    parser = dialect().parser(error_level=ErrorLevel.IMMEDIATE)
    try:
        trees = parser.parse(tokens, sql)
    except ParseError as error:
        raise _not_parsed(sql, tokens, error) from error
    except RecursionError as error:
        raise too_deep() from error
    except (SqlglotError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        # sqlglot's parser fails with a Python error on some malformed texts.
        raise SqlNotParsed("The SQL does not parse.") from error
    start = position_at(sql, tokens[0].start if tokens else 0)
    return Parsed(sql, [_unmasked(tree, mask) for tree in trees if tree is not None], start)


def generate(tree: exp.Expr, dialect: type[Dialect], **options: Any) -> str:
    """Return SQL text with every identifier quoted. Engines get only text that `render` checked."""
    try:
        tree = tree.copy()
        if issubclass(dialect, SparkSql):
            _with_parentheses(tree)
            # sqlglot moves the WITH clauses of a tree that has no parent to the top, where equal
            # names become one.
            exp.Tuple(expressions=[tree])
        return str(
            tree.sql(
                dialect,
                copy=False,
                identify=True,
                normalize_functions=False,
                comments=False,
                **options,
            )
        )
    except RecursionError as error:
        raise too_deep() from error


def _with_parentheses(tree: exp.Expr) -> None:
    """Put VALUES in FROM or JOIN into parentheses, in place. Where Spark cannot read a row of bare
    VALUES, it goes on with a list of tables."""
    for values in list(tree.find_all(exp.Values)):
        if isinstance(values.parent, exp.From | exp.Join):
            subquery = exp.Subquery(alias=values.args.get("alias"))
            values.set("alias", None)
            values.replace(subquery)
            subquery.set("this", values)


def too_deep(position: dict[str, int] | None = None) -> SqlTooLarge:
    return SqlTooLarge(
        "The SQL is nested too deeply.",
        hint="Move inner queries into WITH clauses. Replace long chains of operators with arrays "
        "or tables.",
        position=position,
    )


def _tokens(sql: str, dialect: type[Dialect]) -> list[Token]:
    try:
        tokens: list[Token] = dialect().tokenize(sql)
    except TokenError as error:
        # The tokenizer stops at something that is opened and never closed.
        raise SqlNotParsed(
            "The SQL does not parse: a string, quoted name or comment does not end.",
            position=position_at(sql, len(sql)),
        ) from error
    except (ValueError, IndexError) as error:
        raise SqlNotParsed("The SQL does not parse.") from error
    return tokens


def _measure(sql: str, tokens: list[Token], type_words: set[TokenType], slack: int) -> None:
    """Refuse SQL that nests too deep for a recursive parser or its destructors."""
    opened: list[bool] = []
    chain = 0
    chained_at = -1
    for number, token in enumerate(tokens):
        before = tokens[number - 1] if number else None
        kind = token.token_type
        if kind in _OPEN:
            opened.append(before is not None and before.token_type in type_words)
        elif kind in _CLOSE and opened:
            opened.pop()
        if kind in _PREFIXES or kind in _POSTFIXES:
            reach = 1 if kind in _PREFIXES else 3
            chain = chain + 1 if number - chained_at <= reach else 0
            chained_at = number
        nesting = len(opened) > slack * MAX_NESTING or sum(opened) > MAX_TYPE_NESTING
        if nesting or chain > slack * MAX_CHAIN:
            raise too_deep(position_at(sql, token.start))
        if _is_empty_item(before, token, tokens[number + 1 : number + 2]):
            raise SqlNotParsed(
                "The SQL does not parse: a comma has nothing before or after it.",
                position=position_at(sql, token.start),
            )
        if before is not None and _is_split_number(before, token):
            raise SqlNotParsed(
                f"The SQL does not parse: write {before.text}{token.text} without underscores.",
                position=position_at(sql, before.start),
            )


def _is_empty_item(before: Token | None, token: Token, following: list[Token]) -> bool:
    """Return whether a comma lacks an item. sqlglot accepts that: `SELECT 1, , 2`."""
    if token.token_type is not TokenType.COMMA:
        return False
    after = following[0].token_type if following else TokenType.SEMICOLON
    return before is None or before.token_type in _NO_ITEM_BEFORE or after in _NO_ITEM_AFTER


def _refuse_empty_aliases(sql: str, tokens: list[Token]) -> None:
    """Refuse AS without something before it, which sqlglot drops: `SELECT as, a`."""
    for before, token in pairwise(tokens):
        if token.token_type is TokenType.ALIAS and before.token_type in _NO_ALIAS_AFTER:
            raise SqlNotParsed(
                "The SQL does not parse: AS has nothing before it.",
                position=position_at(sql, token.start),
            )


def _is_split_number(before: Token, token: Token) -> bool:
    """Return whether the two form a number such as `1_000`, which sqlglot reads as `1 AS _000`."""
    return (
        before.token_type is TokenType.NUMBER
        and token.text.startswith("_")
        and token.start == before.end + 1
    )


def _mask(sql: str, tokens: list[Token], dialect: type[Dialect]) -> str:
    """Put a prefix before the names of calls that sqlglot would read by a special parser although
    their syntax is plain, and return the prefix.

    sqlglot takes max_by and arg_max for one another, and Spark's `array(1, 2)[0]` for a type.
    """
    names = dialect.parser_class.FUNCTION_PARSERS.keys() - _SPECIAL_SYNTAX
    if issubclass(dialect, Spark):
        names |= _SPARK_TYPES
    mask = "call_"
    while mask in sql:
        mask += "_"
    for number, (token, following) in enumerate(pairwise(tokens)):
        is_type = number > 0 and tokens[number - 1].token_type is TokenType.ALIAS
        if is_type and token.token_type is TokenType.CHAR:
            continue
        if following.token_type is TokenType.L_PAREN and token.text.upper() in names:
            if token.token_type is not TokenType.IDENTIFIER:
                token.token_type = TokenType.VAR
            token.text = mask + token.text
    return mask


def _unmasked(tree: exp.Expr, mask: str) -> exp.Expr:
    for node in tree.walk():
        name = node.args.get("this")
        if isinstance(node, exp.Anonymous | exp.Identifier) and isinstance(name, str):
            node.set("this", name.removeprefix(mask))
    return tree


def _not_parsed(sql: str, tokens: list[Token], error: ParseError) -> SqlRefused:
    details = error.errors[0] if error.errors else {}
    position = None
    if (line := details.get("line")) and (column := details.get("col")):
        width = max(1, len(details.get("highlight") or ""))
        position = {"line": line, "column": max(1, column - width + 1)}
    first = tokens[0] if tokens else None
    if first is not None and first.token_type not in _READING:
        return SqlNotSelect(
            f"The SQL starts with {first.text[:40]!r}; only a SELECT may run.",
            position=position_at(sql, first.start),
        )
    for token, following in pairwise(tokens):
        if token.token_type is TokenType.L_PAREN and following.token_type in _WRITING:
            return SqlNotSelect(
                f"The SQL writes: {following.text.upper()} is not allowed in it.",
                position=position_at(sql, following.start),
            )
    what = details.get("description") or "unexpected text"
    near = details.get("highlight") or ""
    return SqlNotParsed(
        f"The SQL does not parse: {what}{f' near {near[:60]!r}' if near else ''}.",
        position=position,
    )
