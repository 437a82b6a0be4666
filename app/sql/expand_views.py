"""Expands views for an engine that does not know them: each becomes one CTE."""

from collections.abc import Callable, Mapping

from sqlglot import exp

from app.errors import SqlRefused
from app.sql.tables import fold, physical_tables

MAX_DEPTH = 10


def expand(
    tree: exp.Expr, views: Mapping[str, str], checked: Callable[[str], exp.Expr]
) -> exp.Expr:
    """Add to the tree a CTE for each view that it reads, directly or through other views.

    `views` is Trino SQL by `schema.name`. `checked` runs the guard on it again.

    Raises:
        SqlRefused: views read one another in a circle, or deeper than `MAX_DEPTH`.
    """
    if not views:
        return tree
    by_name = {fold(name): (name, sql) for name, sql in views.items()}
    prefix = "asgard_view_"
    # No name in the query or in the views may equal the name of a CTE.
    texts = [identifier.name for identifier in tree.find_all(exp.Identifier)] + [*views.values()]
    while any(prefix in fold(text) for text in texts):
        prefix += "_"
    cte_names: dict[str, str] = {}
    ctes: list[exp.CTE] = []

    def bind(node: exp.Expr, path: tuple[str, ...]) -> None:
        for table in list(physical_tables(node)):
            key = fold(f"{table.db}.{table.name}")
            if key not in by_name:
                continue
            cte = cte_name(key, path)
            if not table.args.get("alias"):
                table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
            table.set("this", exp.to_identifier(cte, quoted=True))
            table.set("db", None)

    def cte_name(key: str, path: tuple[str, ...]) -> str:
        name, sql = by_name[key]
        if key in path:
            raise SqlRefused(f"The view {name} reads itself, through {' and '.join(path)}.")
        if len(path) >= MAX_DEPTH:
            raise SqlRefused(f"Views read one another more than {MAX_DEPTH} levels deep.")
        if key not in cte_names:
            query = checked(sql)
            bind(query, (*path, key))
            cte_names[key] = f"{prefix}{len(cte_names)}"
            alias = exp.TableAlias(this=exp.to_identifier(cte_names[key], quoted=True))
            ctes.append(exp.CTE(this=query, alias=alias))
        return cte_names[key]

    bind(tree, ())
    if not ctes:
        return tree
    if isinstance(tree, exp.Values):
        tree = exp.select("*").from_(exp.Subquery(this=tree), copy=False)
    with_ = tree.args.get("with_")
    if isinstance(with_, exp.With):
        with_.set("expressions", [*ctes, *with_.expressions])
    else:
        tree.set("with_", exp.With(expressions=ctes))
    return tree
