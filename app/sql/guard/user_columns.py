"""Keeps Spark and Sail from reading a column called `user` as a function.

If no column has such a name, they read it as the function of that name, even if it is quoted. They
never do so if a table's name stands before it.
"""

from sqlglot import exp

from app.errors import SqlFunctionRefused
from app.sql.guard.paths import PATH_FORMATS
from app.sql.parse import Parsed
from app.sql.tables import fold

WORDS = frozenset({"user", "current_user", "session_user"})
_MORE_SOURCES = ("joins", "laterals")
_BY_OUTPUT = ("order", "having")
"""Clauses in which a name of the SELECT list takes precedence."""


def qualify_user_columns(parsed: Parsed, tree: exp.Expr) -> None:
    """Put the table's name before each such column, in place. Raises `SqlFunctionRefused`."""
    for column in list(tree.find_all(exp.Column)):
        word = column.this
        if column.table or not isinstance(word, exp.Identifier) or fold(word.name) not in WORDS:
            continue
        if isinstance(column.parent, exp.Star | exp.Join):
            continue  # EXCEPT and USING take names of columns only
        select = column.find_ancestor(exp.Select, exp.SetOperation)
        if select is not None and word.quoted and _is_output(column, select):
            continue
        table = _only_source(select) if word.quoted else None
        if table is None:
            raise _refusal(parsed, column)
        column.set("table", table)


def _is_output(column: exp.Column, select: exp.Expr) -> bool:
    names = {fold(name) for name in select.named_selects} if isinstance(select, exp.Query) else ()
    clauses = [select.args.get(name) for name in _BY_OUTPUT]
    within = any(clause is not None and _holds(clause, column) for clause in clauses)
    return within and fold(column.name) in names


def _holds(clause: exp.Expr, column: exp.Column) -> bool:
    return any(node is column for node in clause.find_all(exp.Column))


def _only_source(select: exp.Expr | None) -> exp.Identifier | None:
    """Return the name of the one table or subquery that `select` reads, if it has a plain name."""
    if not isinstance(select, exp.Select):
        return None
    source = select.args.get("from_")
    table = source.this if source is not None else None
    more = [part.args.get(name) for part in (select, table) if part for name in _MORE_SOURCES]
    if not isinstance(table, exp.Table | exp.Subquery) or any(more):
        return None
    if table.alias:
        return exp.to_identifier(table.alias, quoted=True)
    # A file gets another name where it is read.
    if not isinstance(table.this, exp.Identifier) or fold(table.text("db")) in PATH_FORMATS:
        return None
    return exp.to_identifier(table.name, quoted=True)


def _refusal(parsed: Parsed, column: exp.Column) -> SqlFunctionRefused:
    name = fold(column.name)
    return SqlFunctionRefused(
        f"The function {name!r} is not allowed.",
        hint=f"For a column with this name, write the table's name or alias first: t.`{name}`.",
        position=parsed.position(column),
        function=name,
    )
