"""Fills templates of DuckDB's SQL, which have places for arguments: `_0`, `_1`, …"""

import re
from collections.abc import Sequence
from functools import cache

from sqlglot import exp

from app.errors import NotSupported
from app.sql.parse import DuckDBSql, parse, too_deep

MAX_NODES = 20_000
"""Nodes of one translated call: templates repeat their arguments."""
SMALL = 8
"""Nodes of an argument that may be repeated."""
WITNESS = "asgard_witness"
PARAMETERS = frozenset(("asgard_i", "asgard_let", "asgard_x"))
"""The names of parameters of lambdas in templates."""
_VOLATILE = frozenset(("random", "uuid"))
_AGGREGATE = re.compile(r"\b(any_value|arg_\w+|array_agg|avg|count|skewness|sum)\(")
_PLACE = re.compile(r"\b_(\d)\b")
_BARE_ARGUMENTS = (exp.Paren, exp.Lambda, exp.Distinct, exp.Order, exp.Subquery, exp.IgnoreNulls)


def filled(template: str, args: Sequence[exp.Expr]) -> exp.Expr:
    sizes = [sum(1 for _ in arg.walk()) for arg in args]
    pattern = _pattern(template)
    uses = [column.name for column in pattern.find_all(exp.Column)]
    if sum(size * uses.count(f"_{number}") for number, size in enumerate(sizes)) > MAX_NODES:
        raise too_deep()
    if _changes_where_repeated(template, args):
        return _let(template, args)
    root = exp.Paren(this=pattern.copy())
    for column in list(root.find_all(exp.Column)):
        number = column.name.removeprefix("_")
        if number.isdigit():
            column.replace(operand(args[int(number)]))
    for call in list(root.find_all(exp.Anonymous)):
        if call.name == WITNESS:
            call.replace(witness(call.expressions[0]))
    filled: exp.Expr = root.this.pop()
    return operand(filled)


def filled_once(template: str, args: Sequence[exp.Expr]) -> exp.Expr:
    """Fill as `filled` does, but repeat no large argument, so that nested calls stay small. In a
    HAVING, DuckDB takes the parameter of a lambda for a column that is not grouped."""
    is_small = all(_size(arg) <= SMALL for arg in args)
    if is_small or any(arg.find_ancestor(exp.Having) for arg in args):
        return filled(template, args)
    return _let(template, args)


def _size(value: exp.Expr) -> int:
    """Count the nodes, without those that only say to which type something is cast."""
    return sum(1 for _ in value.walk(prune=_is_typed)) + sum(
        _size(cast.expressions[0]) for cast in value.walk(prune=_is_typed) if _is_typed(cast)
    )


def _is_typed(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name == "cast_to_type"


def _let(template: str, args: Sequence[exp.Expr]) -> exp.Expr:
    values = ", ".join(f"'v{number}': _{number}" for number in range(len(args)))
    body = _PLACE.sub(r"asgard_let.v\1", template)
    return filled(f"list_transform([{{{values}}}], LAMBDA asgard_let : {body})[1]", args)


def _changes_where_repeated(template: str, args: Sequence[exp.Expr]) -> bool:
    """Return whether an argument would be computed several times, with another value each time."""
    # An aggregate reads its rows once; what it repeats is only their type or number.
    if _AGGREGATE.search(template):
        return False
    places = list(_pattern(template).find_all(exp.Column))
    for number, arg in enumerate(args):
        if not any(call.name in _VOLATILE for call in arg.find_all(exp.Anonymous)):
            continue
        uses = [place for place in places if place.name == f"_{number}"]
        if len(uses) < 2 and not any(use.find_ancestor(exp.Lambda) for use in uses):
            continue
        if isinstance(arg, exp.Lambda):
            raise unsupported("random or uuid in a lambda of this function")
        return True
    return False


def witness(value: exp.Expr) -> exp.Expr:
    """Return an expression with the type of `value`, without repeating what was cast to it."""
    inner = value.unnest()
    if isinstance(inner, exp.Anonymous) and inner.name == "cast_to_type":
        value = inner.expressions[1]
    return value.copy()


def operand(value: exp.Expr) -> exp.Expr:
    operator = exp.Binary | exp.Unary | exp.Between | exp.In | exp.Interval | exp.Is
    if isinstance(value, operator) and not isinstance(value, _BARE_ARGUMENTS):
        return exp.Paren(this=value.copy())
    return value.copy()


@cache
def _pattern(template: str) -> exp.Expr:
    query = parse(f"SELECT {template}", DuckDBSql).trees[0]
    pattern: exp.Expr = query.expressions[0]
    return pattern


@cache
def arity(template: str) -> int:
    names = {column.name for column in _pattern(template).find_all(exp.Column)}
    numbers = [int(name[1:]) for name in names if name[1:].isdigit()]
    return max(numbers, default=-1) + 1


def unsupported(what: str) -> NotSupported:
    return NotSupported(
        f"{what} is not supported by the embedded SQL engine; Trino supports it.",
        setting="TRINO_HOST",
    )
