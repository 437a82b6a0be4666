"""Decides which nodes may stand where a table or a query is read.

Every other check of tables sees only the nodes that sqlglot takes for tables. An engine may read a
table in a place where sqlglot sees something else: to Spark, `FROM LATERAL text.x` is a table.
"""

from sqlglot import exp

from app.errors import SqlRefused
from app.sql.calls import call_name
from app.sql.guard.allowed_nodes import QUERIES
from app.sql.guard.functions import SPARK_TABLE_FUNCTIONS
from app.sql.parse import Parsed

PARENTHESES = "Put a query in parentheses of its own: coalesce((SELECT 1), 2)."
Kinds = tuple[type[exp.Expr], ...]
_RELATIONS: Kinds = (exp.Table, exp.Subquery, exp.Values, exp.Unnest, exp.Lateral)
_OPERANDS: dict[type[exp.Expr], Kinds] = {
    exp.From: _RELATIONS,
    exp.Join: _RELATIONS,
    exp.CTE: QUERIES,
    exp.Subquery: (*QUERIES, *_RELATIONS),
    exp.Union: QUERIES,
    exp.Intersect: QUERIES,
    exp.Except: QUERIES,
}
"""What these nodes may read."""
_QUERY_HOLDERS: Kinds = (exp.Subquery, exp.SetOperation, exp.CTE, exp.Exists, exp.Any, exp.All)
_HOLDERS: dict[type[exp.Expr], Kinds] = {
    exp.Table: (exp.From, exp.Join, exp.Subquery),
    exp.Unnest: (exp.From, exp.Join, exp.Subquery),
    exp.Values: (*_QUERY_HOLDERS, exp.From, exp.Join, exp.In),
    exp.Alias: (exp.Select, exp.Func, exp.Pivot),
    exp.Aliases: (exp.Select,),
    exp.Select: _QUERY_HOLDERS,
    exp.Union: _QUERY_HOLDERS,
    exp.Intersect: _QUERY_HOLDERS,
    exp.Except: _QUERY_HOLDERS,
}
"""Where these nodes may stand. A query elsewhere needs parentheses of its own."""
_GROUPINGS: Kinds = (exp.GroupingSets, exp.Cube, exp.Rollup, exp.Group)


def check_position(parsed: Parsed, tree: exp.Expr, node: exp.Expr, *, spark: bool) -> None:
    """Check what the node reads, and that it stands where such a node is read.

    Raises:
        SqlRefused: an engine could read something else here than the tables that were checked.
    """
    for operand in _operands(node):
        if not isinstance(operand, _OPERANDS[type(node)]):
            raise _refused(parsed, node, "Expected a table, a view or a query in parentheses.")
    if isinstance(node, exp.Select) and not node.expressions:
        raise _refused(parsed, node, "A SELECT without columns is not supported.")
    if isinstance(node, exp.Lateral):
        _check_lateral(parsed, node, spark)
    elif isinstance(node, exp.Any | exp.All):
        if not isinstance(node.this, QUERIES) and not (spark and _is_plain_any(node)):
            raise _refused(
                parsed,
                node,
                "ANY and ALL are supported only with a subquery.",
                "Use bool_or, array_contains or exists, or put any(…) into parentheses."
                if spark
                else None,
            )
    elif isinstance(node, exp.Tuple) and not node.expressions:
        if not isinstance(node.parent, _GROUPINGS):
            raise _refused(parsed, node, "Empty parentheses are supported only in GROUP BY.")
    elif node is not tree and not _is_allowed(node):
        hint = PARENTHESES if isinstance(node, QUERIES) else None
        raise _refused(parsed, node, f"{_kind(node)} is not allowed here.", hint)


def _is_plain_any(node: exp.Any | exp.All) -> bool:
    """Return whether it is Spark's aggregate any(…) or a list of patterns. sqlglot makes an array
    and a lambda of an operand of any other operator."""
    is_operand = isinstance(node.parent, exp.Binary)
    is_pattern = isinstance(node.parent, exp.Like | exp.ILike) and node.arg_key == "expression"
    return isinstance(node.this, exp.Tuple | exp.Paren) and (is_pattern or not is_operand)


def _operands(node: exp.Expr) -> list[exp.Expr | None]:
    if type(node) not in _OPERANDS:
        return []
    return [node.this, node.expression] if isinstance(node, exp.SetOperation) else [node.this]


def _check_lateral(parsed: Parsed, node: exp.Lateral, spark: bool) -> None:
    is_view = bool(node.args.get("view"))
    is_call = spark and call_name(node.this) in SPARK_TABLE_FUNCTIONS
    if not is_call and (is_view or not isinstance(node.this, exp.Subquery)):
        call = " or a function that returns rows" if spark else ""
        raise _refused(parsed, node, f"LATERAL needs a subquery in parentheses{call}.")
    stands = node.arg_key == "laterals" if is_view else isinstance(node.parent, exp.From | exp.Join)
    if not stands:
        raise _refused(parsed, node, "LATERAL is not supported in this place.")


def _is_allowed(node: exp.Expr) -> bool:
    # sqlglot reads EXISTS (VALUES …) as a call.
    is_in_exists = isinstance(node.parent, exp.Anonymous) and call_name(node.parent) == "exists"
    holders = _HOLDERS.get(type(node), exp.Expr)
    return isinstance(node.parent, holders) or (is_in_exists and isinstance(node, exp.Values))


def _kind(node: exp.Expr) -> str:
    match node:
        case exp.Alias() | exp.Aliases():
            return "AS"
        case exp.Table():
            return "A table"
        case _:
            return "A query without parentheses"


def _refused(parsed: Parsed, node: exp.Expr, detail: str, hint: str | None = None) -> SqlRefused:
    return SqlRefused(detail, hint=hint, position=parsed.position(node))
