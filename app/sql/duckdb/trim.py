"""Translates trims without characters: Trino trims tabs and line ends, but no no-break spaces."""

from sqlglot import exp

from app.sql.duckdb.templates import filled

# What Java's Character.isWhitespace says, as Trino reads it.
_SPACES = (*range(9, 14), *range(28, 33), 5760, *range(8192, 8199), *range(8200, 8203), 8232)
_MORE_SPACES = (8233, 8287, 12288)
_ALL = " || ".join(f"chr({code})" for code in (*_SPACES, *_MORE_SPACES))
_NAMES = {"LEADING": "ltrim", "TRAILING": "rtrim"}


def trimmed(name: str, *args: exp.Expr) -> exp.Expr:
    if len(args) != 1:
        return exp.Anonymous(this=name, expressions=[arg.copy() for arg in args])
    return filled(f"{name}(_0, {_ALL})", args)


def trim(node: exp.Expr) -> exp.Expr:
    if node.args.get("expression"):
        return node
    return trimmed(_NAMES.get(str(node.args.get("position") or "").upper(), "trim"), node.this)
