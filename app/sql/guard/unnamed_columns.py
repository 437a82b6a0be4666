"""Finds columns of a query without a name: tables need names, and Trino does not generate them."""

from typing import Any

from sqlglot import exp

from app.sql.calls import call_name
from app.sql.parse import Parsed
from app.sql.tables import cte_of

MAX_DEPTH = 20


def unnamed_column(parsed: Parsed, tree: exp.Expr) -> dict[str, Any] | None:
    """Return the first column without a name: its `column` number, from 1, and `position`."""
    return _Search(parsed).query(tree, 0)


class _Search:
    def __init__(self, parsed: Parsed) -> None:
        self._parsed = parsed
        self._seen: set[int] = set()
        """Queries that were visited: CTEs that read one another twice have no end."""

    def query(self, query: exp.Expr, depth: int) -> dict[str, Any] | None:
        while isinstance(query, exp.Subquery | exp.Paren | exp.SetOperation):
            query = query.this  # the first query of a UNION names its columns
        if id(query) in self._seen or depth > MAX_DEPTH:
            return None
        self._seen.add(id(query))
        if isinstance(query, exp.Values | exp.Unnest):
            return {"column": 1, "position": self._parsed.position(query)}
        if not isinstance(query, exp.Select):
            return None
        for number, item in enumerate(query.expressions, start=1):
            if item.is_star:
                if unnamed := self._star(query, item, depth):
                    return {**unnamed, "column": number}
            elif not _has_name(item):
                return {"column": number, "position": self._parsed.position(item)}
        return None

    def _star(self, query: exp.Select, star: exp.Expr, depth: int) -> dict[str, Any] | None:
        """Return an unnamed column that `*` or `x.*` adds from queries that are read as tables."""
        qualifier = star.table if isinstance(star, exp.Column) else ""
        from_, joins = query.args.get("from_"), query.args.get("joins") or []
        for source in [*([from_.this] if from_ else []), *(join.this for join in joins)]:
            if qualifier in {"", source.alias_or_name} and not source.alias_column_names:
                inner = _read_by(source)
                if inner is not None and (unnamed := self.query(inner, depth + 1)):
                    return unnamed
        return None


def _read_by(source: exp.Expr) -> exp.Expr | None:
    if isinstance(source, exp.Table):
        cte = cte_of(source)
        return None if cte is None or cte.alias_column_names else cte.this
    return source.this if isinstance(source, exp.Lateral) else source


def _has_name(item: exp.Expr) -> bool:
    while isinstance(item, exp.Paren):
        item = item.this
    if isinstance(item, exp.Alias):
        return bool(item.alias)
    is_call = isinstance(item, exp.Dot) and call_name(item.expression) is not None
    return isinstance(item, exp.Column | exp.Identifier | exp.Dot) and not is_call
