"""Shortens `silver.t.x` to `t.x`: the schema may have another name where the SQL runs.

The short name must mean the same. Another relation of that name, in the same query or around it,
could take its place, and so could a column named `t` if the table is missing.
"""

from collections.abc import Iterable, Iterator

from sqlglot import exp

from app.errors import SqlRefused
from app.sql.model import SqlPolicy, TableName
from app.sql.parse import Parsed
from app.sql.tables import cte_of, fold

_Name = tuple[str, str]
"""A schema and a table."""


def shorten_columns(
    parsed: Parsed, tree: exp.Expr, tables: Iterable[TableName], policy: SqlPolicy
) -> None:
    """Shorten the columns of these tables in place. The tables in the tree have their real schemas.

    Raises:
        SqlRefused: a short name could mean something else.
    """
    names = {(fold(table.schema), fold(table.name)) for table in tables}
    logical = {"silver": policy.silver_schema, "gold": policy.gold_schema}
    qualified: list[tuple[exp.Column, _Name]] = []
    for column in tree.find_all(exp.Column):
        schema = fold(column.db)
        name = (fold(logical.get(schema, schema)), fold(column.table))
        if schema and name in names:
            qualified.append((column, name))
    if not qualified:
        return
    sources = [*_unaliased_tables(tree)]
    others = _other_relations(tree, sources)
    for column, name in qualified:
        _require_one_meaning(parsed, column, name, sources, others)
        column.set("db", None)
        column.set("catalog", None)


def _require_one_meaning(
    parsed: Parsed,
    column: exp.Column,
    name: _Name,
    sources: list[tuple[exp.Table, _Name]],
    others: set[str],
) -> None:
    written = f"{column.db}.{column.table}"
    if name[1] in others or any(n != name and n[1] == name[1] for _, n in sources):
        raise SqlRefused(
            f"The SQL is ambiguous: {written[:100]} is not the only table or alias with the name "
            f"{column.table[:100]}.",
            hint="Give each of them an alias of its own, and write the alias before the column.",
            position=parsed.position(column),
        )
    around = {id(select) for select in _selects_around(column)}
    if not any(n == name and id(table.find_ancestor(exp.Select)) in around for table, n in sources):
        raise SqlRefused(
            f"The SQL reads a column of {written[:100]}, but no FROM around it has this table "
            "without an alias.",
            hint="If the table has an alias, write the alias before the column.",
            position=parsed.position(column),
        )


def _unaliased_tables(tree: exp.Expr) -> Iterator[tuple[exp.Table, _Name]]:
    for table in tree.find_all(exp.Table):
        if not table.alias and table.db and cte_of(table) is None:
            yield table, (fold(table.db), fold(table.name))


def _other_relations(tree: exp.Expr, sources: list[tuple[exp.Table, _Name]]) -> set[str]:
    """Return the names of all relations but the tables of the lake without an alias."""
    known = {id(table) for table, _ in sources}
    names = {fold(alias.name) for alias in tree.find_all(exp.TableAlias)}
    tables = (table for table in tree.find_all(exp.Table) if id(table) not in known)
    return names | {fold(table.alias_or_name) for table in tables}


def _selects_around(node: exp.Expr) -> Iterator[exp.Expr]:
    while (node_around := node.find_ancestor(exp.Select)) is not None:
        yield node_around
        node = node_around
