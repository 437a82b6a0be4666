"""Keeps each name what it is in Trino: DuckDB's rules for aliases, and for the columns of `*` after
USING, differ."""

from collections.abc import Iterator, Sequence

from sqlglot import exp

from app.sql.duckdb.templates import unsupported
from app.sql.tables import fold, unused_prefix

_PREFIX = "asgard_column_"
_CLAUSES = ("where", "group", "having", "windows")


def hide_aliases(tree: exp.Expr) -> exp.Expr:
    """Rename each alias whose name its own SELECT uses, too, and return the tree.

    In Trino, only ORDER BY sees the aliases, and there they win over columns. In DuckDB, columns
    win in expressions of ORDER BY, and elsewhere an alias wins over a column of an outer query.
    A query around the SELECT gives the column its name again.
    """
    root = exp.Paren(this=tree)
    prefix = unused_prefix(tree, _PREFIX)
    for number, select in enumerate(reversed(list(tree.find_all(exp.Select)))):
        renamed = _rename_aliases(select, f"{prefix}{number}_")
        if renamed and _has_visible_names(select):
            _name_again(select, renamed)
    result: exp.Expr = root.this.pop()
    return result


def order_using_columns(tree: exp.Expr) -> None:
    """Spell `*` after USING as Trino does, in place: the joined columns come first, once, and
    belong to no table."""
    for select in tree.find_all(exp.Select):
        joins = select.args.get("joins") or []
        if any(join.args.get("using") for join in joins):
            items = [part for item in select.expressions for part in _spelled(select, joins, item)]
            select.set("expressions", items)


def _rename_aliases(select: exp.Select, prefix: str) -> dict[str, exp.Identifier]:
    """Return the aliases by their new names."""
    used = {fold(column.name) for column in _columns(select)}
    renamed: dict[str, exp.Identifier] = {}
    new_names: dict[str, str] = {}
    for number, item in enumerate(select.expressions):
        name = fold(item.alias) if isinstance(item, exp.Alias) else ""
        if name in used and not (
            isinstance(item.this, exp.Column) and fold(item.this.name) == name
        ):
            new = new_names[name] = f"{prefix}{number}"
            renamed[new] = item.args["alias"]
            item.set("alias", exp.to_identifier(new, quoted=True))
    for ordered in _order(select):
        for column in list(ordered.find_all(exp.Column)):
            new = "" if column.table else new_names.get(fold(column.name), "")
            if new and column.find_ancestor(exp.Select) is select:
                column.set("this", exp.to_identifier(new, quoted=True))
    return renamed


def _columns(select: exp.Select) -> Iterator[exp.Column]:
    """Return the columns without a table where DuckDB decides between them and aliases."""
    parts = [item.unalias() for item in select.expressions]
    for clause in _CLAUSES:
        value = select.args.get(clause)
        parts += value if isinstance(value, list) else [value] if value else []
    parts += [part.this for part in _order(select) if not isinstance(part.this, exp.Column)]
    for part in parts:
        yield from (column for column in part.find_all(exp.Column) if not column.table)


def _order(select: exp.Select) -> Sequence[exp.Expr]:
    order = select.args.get("order")
    return order.expressions if isinstance(order, exp.Order) else []


def _has_visible_names(select: exp.Select) -> bool:
    """Return whether a query around the SELECT, or the result, shows the names of its columns."""
    node: exp.Expr = select
    while isinstance(node.parent, exp.SetOperation | exp.Subquery | exp.Paren):
        if isinstance(node.parent, exp.SetOperation) and node.arg_key == "expression":
            return False
        node = node.parent
    around = node.parent
    return around is None or isinstance(around, exp.CTE | exp.From | exp.Join | exp.Lateral)


def _name_again(select: exp.Select, renamed: dict[str, exp.Identifier]) -> None:
    """Put the SELECT, with its ORDER BY and LIMIT, into `SELECT * RENAME (…)`."""
    pairs = [
        exp.alias_(exp.column(exp.to_identifier(new, quoted=True)), name)
        for new, name in renamed.items()
    ]
    alias = exp.TableAlias(this=exp.to_identifier(f"{next(iter(renamed))}_rows", quoted=True))
    outer = exp.Select(expressions=[exp.Star(rename=pairs)])
    select.replace(outer)
    outer.set("from_", exp.From(this=exp.Subquery(this=select, alias=alias)))


def _spelled(select: exp.Select, joins: Sequence[exp.Join], item: exp.Expr) -> Sequence[exp.Expr]:
    is_qualified = isinstance(item, exp.Column) and isinstance(item.this, exp.Star)
    if not is_qualified and not isinstance(item, exp.Star):
        return [item]
    sources = [select.args["from_"].this, *(join.this for join in joins)]
    keys = [[name.name for name in join.args.get("using") or []] for join in joins]
    joined = list(dict.fromkeys(name for names in reversed(keys) for name in names))
    if any(source.args.get("joins") for source in sources) or _is_list(joins):
        raise _unclear()
    if not is_qualified and all(keys):
        return [*(_column(name) for name in joined), _star(joined)]
    # Which table has a column is known only if all that come before have the same columns in USING.
    count = sum(1 for names in keys if names)
    if any(set(names) != set(joined) for names in keys[:count]):
        raise _unclear()
    tables = [source.alias_or_name for source in sources]
    if is_qualified:
        is_joined = fold(item.text("table")) in map(fold, tables[: count + 1])
        return [_star(joined, item.args["table"])] if is_joined else [item]
    if not all(tables):
        raise _unclear()
    names = [exp.to_identifier(table, quoted=True) for table in tables]
    parts = [_star(joined if n <= count else [], name) for n, name in enumerate(names)]
    return [*(_column(name) for name in joined), *parts]


def _is_list(joins: Sequence[exp.Join]) -> bool:
    """Return whether a comma stands before a join with USING: it does not join what is before."""
    last = max(number for number, join in enumerate(joins) if join.args.get("using"))
    return any(
        not (join.args.get("using") or join.args.get("on") or join.kind or join.side)
        for join in joins[:last]
    )


def _column(name: str) -> exp.Expr:
    return exp.column(exp.to_identifier(name, quoted=True))


def _star(without: Sequence[str], table: exp.Identifier | None = None) -> exp.Expr:
    columns = [_column(name) for name in without]
    star = exp.Star(except_=columns) if columns else exp.Star()
    return exp.Column(this=star, table=table.copy()) if table else star


def _unclear() -> Exception:
    return unsupported("* over joins of which some have USING, or USING with other columns,")
