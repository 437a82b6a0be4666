"""Turns a checked tree into text for an engine. There is no other way to get such text.

sqlglot prints some nodes as they are, without quotes, so a text can mean more than its tree. Here
every text is parsed and checked again before an engine gets it.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect

from app.errors import SqlRefused
from app.sql.jinja import position_at
from app.sql.parse import DuckDBSql, Parsed, SparkSql, generate, parse, too_deep
from app.sql.tables import fold, physical_tables

SLACK = 4
"""How many times larger and deeper than a client's text a rendered text may be, since its names are
quoted and its calls translated."""

_STRUCTURE = (
    *(exp.Select, exp.SetOperation, exp.Values, exp.CTE, exp.Join, exp.Lateral, exp.Unnest),
    *(exp.Where, exp.Group, exp.Having, exp.Qualify, exp.Order, exp.Limit, exp.Offset, exp.Fetch),
    *(exp.Distinct, exp.Window, exp.Filter, exp.Pivot, exp.Lambda, exp.Any, exp.All),
)

Check = Callable[[Parsed, exp.Expr], None]
"""Checks a tree and brings it, in place, into the form in which it is printed."""


def render(tree: exp.Expr, dialect: type[Dialect], check: Check, **options: Any) -> str:
    """Return the text of `tree`, which passes `check`, reads the same tables and prints the same.

    Raises:
        SqlRefused: the text is not what the tree says.
    """
    structure = _structure(tree)
    text = generate(tree, dialect, **options)
    if issubclass(dialect, SparkSql):
        refuse_variables(text)
    parsed = parse(text, dialect, slack=SLACK)
    if len(parsed.trees) != 1:
        raise _ambiguous("it becomes several statements")
    (again,) = parsed.trees
    try:
        check(parsed, again)
    except RecursionError as error:
        raise too_deep() from error
    except SqlRefused as refused:
        # The position refers to text that the caller never saw.
        refused.members.pop("position", None)
        raise
    # Names of functions may change their case, which no dialect here distinguishes.
    if fold(generate(again, dialect)) != fold(text):
        raise _ambiguous("a name, unit or value in it can be read in two ways")
    if _reads(again) != _reads(tree):
        raise _ambiguous("a name in it can be read as another table")
    # For DuckDB, the tree is our translation.
    if not issubclass(dialect, DuckDBSql) and _structure(again) != structure:
        raise SqlRefused(
            "The SQL is ambiguous: its parts would be rewritten for the engine.",
            hint="Write it with simpler parts: subqueries, joins and WHERE.",
        )
    return text


def refuse_variables(text: str) -> None:
    """Refuse what Spark replaces before it parses a text, without regard to quotes: `${env:NAME}`,
    `${spark.sql.…}`. Jobs turn that off, too (`spark.sql.variable.substitute`).

    Raises:
        SqlRefused: with the position in the text.
    """
    if (offset := text.find("${")) >= 0:
        raise SqlRefused(
            "The SQL contains ${, which Spark reads as the start of a variable, in strings and "
            "names too.",
            hint="In a string, write '$' || '{'.",
            position=position_at(text, offset),
        )


def _reads(tree: exp.Expr) -> set[tuple[str, str, str]]:
    return {(table.catalog, table.db, table.name) for table in physical_tables(tree)}


def _structure(tree: exp.Expr) -> Counter[type[exp.Expr]]:
    """Count the parts of each kind. sqlglot rewrites some of them as it prints them."""
    return Counter(type(node) for node in tree.find_all(*_STRUCTURE))


def _ambiguous(why: str) -> SqlRefused:
    return SqlRefused(
        f"The SQL is ambiguous: {why}.",
        hint="Use plain names of letters, digits and underscores, and write units without quotes.",
    )
