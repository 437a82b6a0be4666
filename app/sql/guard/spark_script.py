"""Reads the statements of a Spark script before its query: they create temporary views."""

from sqlglot import exp

from app.errors import SqlNotSelect, SqlRefused
from app.sql.guard.allowed_nodes import QUERIES
from app.sql.parse import Parsed
from app.sql.tables import fold

SOURCE_NAMES = ("source_data", "source")
_RESERVED_PREFIX = "asgard_"
_RESERVED_NAMES = frozenset((*SOURCE_NAMES, "silver", "gold"))


def view_of(parsed: Parsed, statement: exp.Expr) -> tuple[str, exp.Expr]:
    """Return name and query of `CREATE [OR REPLACE] TEMPORARY VIEW name [(a, b)] AS query`.

    Raises:
        SqlNotSelect: it is another statement.
    """
    query = statement.args.get("expression")
    properties: exp.Expr | None = statement.args.get("properties")
    written_properties = [
        (type(part), part.args.get("this"))
        for part in (properties.expressions if properties else ())
    ]
    if not (
        isinstance(statement, exp.Create)
        and str(statement.args.get("kind")).upper() == "VIEW"
        and written_properties == [(exp.TemporaryProperty, None)]
        and isinstance(query, QUERIES)
        and not any(
            value and name not in ("this", "kind", "replace", "expression", "properties")
            for name, value in statement.args.items()
        )
    ):
        raise SqlNotSelect(
            "Every statement but the last must be CREATE [OR REPLACE] TEMPORARY VIEW name AS "
            "SELECT …; the last one is the SELECT whose result is written.",
            position=parsed.start if statement is parsed.trees[0] else parsed.position(statement),
        )
    target = statement.this
    columns: list[exp.Expr] = []
    if isinstance(target, exp.Schema):
        columns = [exp.to_identifier(column.name, quoted=True) for column in target.expressions]
        target = target.this
    if (
        not isinstance(target, exp.Table)
        or target.db
        or fold(target.name) in _RESERVED_NAMES
        or fold(target.name).startswith(_RESERVED_PREFIX)
    ):
        raise SqlRefused(
            "A temporary view needs its own plain name: no schema, and not source_data, "
            "source, silver, gold or asgard_….",
            position=parsed.position(statement),
        )
    name = target.name
    query = query.copy()
    if columns:
        alias = exp.TableAlias(this=exp.to_identifier(name, quoted=True), columns=columns)
        query = exp.select("*").from_(exp.Subquery(this=query, alias=alias), copy=False)
    return name, query
