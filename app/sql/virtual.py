"""Columns that DuckDB adds to every table and Trino does not know."""

from sqlglot import exp

from app.sql.tables import fold, physical_tables

VIRTUAL_COLUMNS = frozenset(
    (
        *("_last_updated_sequence_number", "_row_id", "file_index", "file_row_number"),
        *("filename", "rowid"),
    )
)


def hide_virtual_columns(tree: exp.Expr) -> None:
    """Reads each table through a `SELECT *`, which has its real columns only, when the SQL names a
    column as DuckDB names one of its own. Changes the tree in place."""
    if not any(fold(column.name) in VIRTUAL_COLUMNS for column in tree.find_all(exp.Column)):
        return
    for table in list(physical_tables(tree)):
        outer = {name: table.args.get(name) for name in ("alias", "sample", "joins")}
        alias = outer["alias"] or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
        inner = table.copy()
        for name in outer:
            inner.set(name, None)
        select = exp.Select(expressions=[exp.Star()]).from_(inner)
        table.replace(exp.Subquery(this=select, **{**outer, "alias": alias}))
