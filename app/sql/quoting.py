"""Quotes identifiers and texts for the SQL of Trino and DuckDB, and chooses aliases."""

from collections.abc import Iterable


def quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def unused(alias: str, names: Iterable[str]) -> str:
    """Return the alias, made longer until no column has its name in upper or lower case. DuckDB
    reads `t.k` as the field `k` of a column `t` before it looks for a table `t`."""
    taken = {name.lower() for name in names}
    while alias in taken:
        alias += "_"
    return alias
