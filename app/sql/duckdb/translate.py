"""Translates a guarded Trino tree to DuckDB's dialect so that it gives the same values."""

from collections.abc import Sequence

from sqlglot import exp

from app.sql.calls import call_name
from app.sql.duckdb.calls import SPECIAL
from app.sql.duckdb.functions import RENAMED, SAME, TEMPLATES
from app.sql.duckdb.lambdas import keep_parameters
from app.sql.duckdb.operators import RULES
from app.sql.duckdb.regexps import combines_classes
from app.sql.duckdb.rows import refuse_nested
from app.sql.duckdb.sums import is_sum, typed_sum
from app.sql.duckdb.templates import arity, filled, unsupported
from app.sql.duckdb.zones import zoned_call


def translate(tree: exp.Expr) -> exp.Expr:
    """Change the tree in place, from the leaves up, and return its root.

    Raises:
        NotSupported: DuckDB has no equivalent that gives the values of Trino.
    """
    keep_parameters(tree)
    root = exp.Paren(this=tree)
    for node in reversed(list(tree.walk())):
        translated = _translated(node)
        if translated is not node:
            node.replace(translated)
    result: exp.Expr = root.this.pop()
    return result


def _translated(node: exp.Expr) -> exp.Expr:
    if is_sum(node):
        return node if _is_modified(node) else typed_sum(node)
    if isinstance(node, exp.Anonymous):
        return _call(node)
    rule = RULES.get(type(node))
    return rule(node) if rule else node


def _call(node: exp.Anonymous) -> exp.Expr:
    name = call_name(node) or ""
    args: list[exp.Expr] = node.expressions
    if name == "avg" and _is_modified(node):
        return exp.Anonymous(this=name, expressions=args)
    if zoned := zoned_call(node):
        return zoned
    has_pattern = name.startswith("regexp_") and len(args) > 1 and args[1].is_string
    if has_pattern and combines_classes(args[1].name):
        raise unsupported(f"{name} with a class inside of a class")
    if name == "nullif":
        refuse_nested(name, args)
    if special := SPECIAL.get(name):
        result = special(args)
    elif name in TEMPLATES:
        result = _from_templates(name, args)
    elif name in RENAMED or name in SAME:
        return exp.Anonymous(this=RENAMED.get(name, name), expressions=args)
    else:
        raise unsupported(f"The function {name}")
    if _is_modified(node) and not isinstance(result, exp.Anonymous):
        raise unsupported(f"The function {name} with OVER or FILTER")
    return result


def _from_templates(name: str, args: Sequence[exp.Expr]) -> exp.Expr:
    for template in TEMPLATES[name]:
        if arity(template) == len(args):
            return filled(template, args)
    raise unsupported(f"The function {name} with {len(args)} argument(s)")


def _is_modified(node: exp.Expr) -> bool:
    modifiers = exp.Window | exp.Filter | exp.WithinGroup | exp.IgnoreNulls | exp.RespectNulls
    return isinstance(node.parent, modifiers) and node.arg_key == "this"
