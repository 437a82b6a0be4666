"""Finds the tables that a tree names, and tells them from CTEs.

Names are compared as engines compare them: ASCII letters without regard to case. (Python's
`lower` would take the Kelvin sign for a `k`, and thus a file's name for that of a CTE.)
"""

import re
from collections.abc import Iterator

from sqlglot import exp

from app.errors import SqlTableRefused
from app.sql.model import SqlPolicy, TableName
from app.sql.parse import Parsed

_ASCII_UPPER = re.compile(r"[A-Z]+")
_NEVER_IN_NAMES = re.compile(r'[$@/\\."`\x00-\x1f\x7f]')
CTE_PREFIX = "asgard_cte_"
HIDDEN_SCHEMAS = frozenset({"asgard", "asgard_staging", "system", "information_schema"})


def fold(name: str) -> str:
    return _ASCII_UPPER.sub(lambda match: match.group().lower(), name)


def cte_of(table: exp.Table) -> exp.CTE | None:
    """Return the CTE that a one-part name refers to at its place."""
    if table.args.get("db") or not isinstance(table.this, exp.Identifier):
        return None
    name = fold(table.name)
    below: exp.Expr = table
    path: tuple[exp.Expr | None, exp.Expr | None] = (None, None)
    while (scope := below.parent) is not None:
        with_ = scope.args.get("with_")
        if isinstance(with_, exp.With) and with_ is not below:
            for cte in reversed(with_.expressions):
                if fold(cte.alias) == name:
                    return cte if isinstance(cte, exp.CTE) else None
        if isinstance(scope, exp.With):
            cte = _earlier(scope, below, name, in_arm=_is_recursive_arm(below, *path))
            if cte is not None:
                return cte
            path = (scope, below)
            below = scope.parent or scope
            continue
        path = (below, path[0])
        below = scope
    return None


def _is_recursive_arm(cte: exp.Expr, body: exp.Expr | None, arm: exp.Expr | None) -> bool:
    """Return whether `arm` repeats in `cte`: the right side of the UNION that is its whole query.

    Elsewhere, DuckDB reads the CTE's own name as a table, a file or a view of its catalog.
    """
    return isinstance(body, exp.Union) and cte.this is body and body.expression is arm


def _earlier(with_: exp.With, inside: exp.Expr, name: str, *, in_arm: bool) -> exp.CTE | None:
    """Return the CTE that `inside` sees: one before it, or itself in its query's recursive arm."""
    match = None
    for cte in with_.expressions:
        if cte is inside and not (with_.args.get("recursive") and in_arm):
            break
        if isinstance(cte, exp.CTE) and fold(cte.alias) == name:
            match = cte
        if cte is inside:
            break
    return match


def unused_prefix(tree: exp.Expr, prefix: str) -> str:
    """Return the prefix, with underscores added until no name in the tree begins with it."""
    names = {fold(identifier.name) for identifier in tree.find_all(exp.Identifier)}
    while any(name.startswith(prefix) for name in names):
        prefix += "_"
    return prefix


def rename_ctes(tree: exp.Expr) -> None:
    """Give the CTEs generated names, in place. An engine that reads such a name as anything but a
    CTE finds nothing. It would take other names for files or views of its catalog."""
    uses = [(table, cte) for table in tree.find_all(exp.Table) if (cte := cte_of(table))]
    names = {id(cte): f"{CTE_PREFIX}{n}" for n, cte in enumerate(tree.find_all(exp.CTE))}
    for table, cte in uses:
        if not table.alias:
            name = exp.to_identifier(table.name, quoted=True)
            alias = table.args.get("alias") or exp.TableAlias()
            alias.set("this", name)
            table.set("alias", alias)
        table.set("this", exp.to_identifier(names[id(cte)], quoted=True))
    for cte in tree.find_all(exp.CTE):
        cte.args["alias"].set("this", exp.to_identifier(names[id(cte)], quoted=True))


def physical_tables(tree: exp.Expr) -> Iterator[exp.Table]:
    for table in tree.find_all(exp.Table):
        if cte_of(table) is None:
            yield table


def resolve(parsed: Parsed, table: exp.Table, policy: SqlPolicy) -> TableName:
    """Return the table of the lake that a two- or three-part name refers to.

    Raises:
        SqlTableRefused: clients' SQL may not read it.
    """
    position = parsed.position(table)

    def refused(why: str, hint: str | None = None) -> SqlTableRefused:
        return SqlTableRefused(
            why,
            hint=hint or "SQL may read tables of silver and gold: name them silver.t or gold.t.",
            position=position,
        )

    if not isinstance(table.this, exp.Identifier):
        raise refused("A table's name has at most three parts: catalog.schema.table.")
    name, schema, catalog = table.name, table.db, table.catalog
    if not schema:
        raise refused(
            f"The table {name[:100]!r} has no schema, and no CTE has that name.",
            hint=f"Write silver.{name} or gold.{name}." if name.isidentifier() else None,
        )
    if catalog and fold(catalog) != fold(policy.catalog):
        raise refused(
            f"The catalog {catalog[:100]!r} may not be read; the catalog here is {policy.catalog}."
        )
    real = _schema(schema, policy)
    if real is None:
        raise refused(f"The schema {schema[:100]!r} may not be read.")
    if _NEVER_IN_NAMES.search(name) or not name.strip():
        raise refused(
            f"The name {name[:100]!r} may not be read.",
            hint="Metadata tables (t$snapshots, t$files, …) cannot be read in SQL."
            if "$" in name
            else None,
        )
    return TableName(real, name)


def _schema(name: str, policy: SqlPolicy) -> str | None:
    folded = fold(name)
    for real in policy.schemas:
        if fold(real) == folded:
            return real
    if folded in HIDDEN_SCHEMAS:
        return None
    return {"silver": policy.silver_schema, "gold": policy.gold_schema}.get(folded)
