"""Hides columns that DuckDB adds and Trino does not have: virtual ones, and the table itself."""

from sqlglot import exp

from app.sql.tables import fold, physical_tables

VIRTUAL_COLUMNS = frozenset(
    (
        *("_last_updated_sequence_number", "_row_id", "file_index", "file_row_number"),
        *("filename", "rowid"),
    )
)


def hide_virtual_columns(tree: exp.Expr) -> None:
    """Read each table through a `SELECT *`, which has only its real columns, if the SQL names a
    column like one of DuckDB's virtual columns. Changes the tree in place."""
    # Every name counts: the columns of USING are not `Column` nodes.
    if not any(fold(name.name) in VIRTUAL_COLUMNS for name in tree.find_all(exp.Identifier)):
        return
    for table in list(physical_tables(tree)):
        outer = {name: table.args.get(name) for name in ("alias", "sample", "joins")}
        alias = outer["alias"] or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        inner = table.copy()
        for name in outer:
            inner.set(name, None)
        select = exp.Select(expressions=[exp.Star()]).from_(inner)
        table.replace(exp.Subquery(this=select, **{**outer, "alias": alias}))


def hide_rows(tree: exp.Expr) -> None:
    """Rename each table that shares a name with a column: in DuckDB, `SELECT t FROM s.t` returns
    whole rows if no column is named `t`. Changes the tree in place."""
    columns = [column for column in tree.find_all(exp.Column) if not _is_parameter(column)]
    bare = {fold(column.name) for column in columns if not column.table}
    named: dict[str, list[exp.Expr]] = {}
    for node in tree.walk():
        if isinstance(node, exp.Table | exp.Subquery | exp.Unnest | exp.Values | exp.Lateral):
            named.setdefault(fold(node.alias_or_name), []).append(node)
    for name in bare & named.keys() - {""}:
        other = exp.to_identifier(f"{name} row", quoted=True)
        for source in named[name]:
            _rename(source, other)
        for column in columns:
            first = next((part for part in ("catalog", "db", "table") if column.args.get(part)), "")
            if first and fold(column.text(first)) == name:
                column.set(first, other.copy())


def _rename(source: exp.Expr, other: exp.Identifier) -> None:
    alias = source.args.get("alias")
    if isinstance(alias, exp.TableAlias):
        alias.set("this", other.copy())
    else:
        source.set("alias", exp.TableAlias(this=other.copy()))


def _is_parameter(column: exp.Column) -> bool:
    """Return whether the column is, or begins with, a parameter of a lambda around it."""
    first = column.parts[0].name
    around = column.find_ancestor(exp.Lambda)
    while around is not None:
        if any(fold(parameter.name) == fold(first) for parameter in around.expressions):
            return True
        around = around.find_ancestor(exp.Lambda)
    return False
