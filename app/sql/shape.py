"""What SQL may be made of besides tables and function calls: an allow-list of tree nodes.

A node that is not listed is refused, so a construct that sqlglot learns to parse one day is not
let through unseen.
"""

from sqlglot import exp

from app.errors import SqlNotSelect, SqlRefused
from app.sql.parse import Parsed

WRITES: tuple[type[exp.Expr], ...] = (
    exp.Insert,
    exp.Update,
    exp.Delete,
    exp.Merge,
    exp.Create,
    exp.Drop,
    exp.Alter,
    exp.TruncateTable,
    exp.Command,
    exp.Copy,
    exp.Into,
    exp.Set,
    exp.Use,
    exp.Pragma,
    exp.Attach,
    exp.Detach,
    exp.Describe,
    exp.Show,
    exp.Cache,
    exp.Uncache,
    exp.Refresh,
    exp.Analyze,
    exp.Grant,
    exp.Commit,
    exp.Rollback,
    exp.Transaction,
    exp.Kill,
    exp.LoadData,
    exp.Export,
    exp.Summarize,
)

QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)

_COMMON: frozenset[type[exp.Expr]] = frozenset(
    {
        # queries
        exp.Select,
        exp.Union,
        exp.Intersect,
        exp.Except,
        exp.Subquery,
        exp.Values,
        exp.With,
        exp.CTE,
        exp.From,
        exp.Join,
        exp.Lateral,
        exp.Table,
        exp.TableAlias,
        exp.TableSample,
        exp.Where,
        exp.Group,
        exp.Cube,
        exp.Rollup,
        exp.GroupingSets,
        exp.Having,
        exp.Order,
        exp.Ordered,
        exp.Limit,
        exp.Offset,
        exp.Fetch,
        exp.LimitOptions,
        exp.Distinct,
        # names and values
        exp.Identifier,
        exp.Column,
        exp.Star,
        exp.Alias,
        exp.Dot,
        exp.Literal,
        exp.Boolean,
        exp.Null,
        exp.Interval,
        exp.IntervalSpan,
        exp.Var,
        exp.HexString,
        exp.UnicodeString,
        exp.RawString,
        exp.National,
        exp.DataType,
        exp.DataTypeParam,
        exp.ColumnDef,
        exp.Tuple,
        exp.Paren,
        exp.Bracket,
        exp.Lambda,
        # operators
        exp.Add,
        exp.Sub,
        exp.Mul,
        exp.Div,
        exp.Mod,
        exp.Neg,
        exp.DPipe,
        exp.EQ,
        exp.NEQ,
        exp.GT,
        exp.GTE,
        exp.LT,
        exp.LTE,
        exp.Is,
        exp.NullSafeEQ,
        exp.NullSafeNEQ,
        exp.And,
        exp.Or,
        exp.Not,
        exp.In,
        exp.Between,
        exp.Like,
        exp.Escape,
        exp.All,
        exp.Any,
        exp.AtTimeZone,
        # aggregates and windows
        exp.Filter,
        exp.WithinGroup,
        exp.IgnoreNulls,
        exp.RespectNulls,
        exp.Window,
        exp.WindowSpec,
    }
)

TRINO_SHAPE = _COMMON | {exp.Unnest}
SPARK_SHAPE = _COMMON | {
    exp.ILike,
    exp.IntDiv,
    exp.BitwiseAnd,
    exp.BitwiseOr,
    exp.BitwiseXor,
    exp.BitwiseNot,
    exp.Aliases,
    exp.Kwarg,
    exp.Cluster,
    exp.Distribute,
    exp.Sort,
    exp.Hint,
    exp.Qualify,
    exp.Pivot,
    exp.PivotAlias,
    exp.PivotAny,
}

_TAIL = ("order", "limit", "offset")
_SET = ("with_", "this", "expression", "distinct", *_TAIL)
# What these nodes may have; it says more than the node's name does.
_ARGS: dict[type[exp.Expr], frozenset[str]] = {
    kind: frozenset(names)
    for kind, names in {
        exp.Select: (
            *("with_", "expressions", "distinct", "from_", "joins", "where", "group", "having"),
            *("windows", *_TAIL),
        ),
        exp.Union: _SET,
        exp.Intersect: _SET,
        exp.Except: _SET,
        exp.Subquery: ("this", "alias", "with_", "joins", "sample", *_TAIL),
        exp.Values: ("expressions", "alias", *_TAIL),
        exp.Table: ("this", "db", "catalog", "alias", "joins", "sample"),
        exp.Star: (),
        exp.Distinct: ("expressions",),
        exp.With: ("expressions", "recursive"),
        exp.CTE: ("this", "alias"),
        exp.Join: ("this", "on", "side", "kind", "using", "method"),
        exp.Lateral: ("this", "alias"),
        exp.Column: ("this", "table", "db", "catalog"),
        exp.In: ("this", "expressions", "query"),
        exp.Cast: ("this", "to", "safe"),
        exp.TryCast: ("this", "to", "safe"),
        exp.TableSample: ("method", "percent"),
        exp.Window: ("this", "partition_by", "order", "spec", "alias", "over"),
        exp.Limit: ("expression",),
    }.items()
}
_SPARK_ARGS: dict[type[exp.Expr], frozenset[str]] = {
    exp.Select: frozenset(
        ("hint", "laterals", "qualify", "cluster", "distribute", "sort", "pivots")
    ),
    exp.Table: frozenset(("pivots", "laterals")),
    exp.Subquery: frozenset(("pivots", "laterals")),
    exp.Lateral: frozenset(("view", "outer")),
    exp.TableSample: frozenset(("rows", "size", "seed")),
}
_NONE: frozenset[str] = frozenset()
_TELLING = {
    "version": "Time travel (FOR VERSION/TIMESTAMP AS OF) is not supported: a query reads the "
    "current state of its tables.",
    "udfs": "Functions cannot be defined in the SQL.",
    "into": "SELECT … INTO writes a table; only a SELECT may run.",
    "locks": "FOR UPDATE has no meaning here.",
}
_TYPES = frozenset(
    {
        exp.DType.ARRAY,
        exp.DType.BIGINT,
        exp.DType.BINARY,
        exp.DType.BOOLEAN,
        exp.DType.CHAR,
        exp.DType.DATE,
        exp.DType.DECIMAL,
        exp.DType.DOUBLE,
        exp.DType.FLOAT,
        exp.DType.INT,
        exp.DType.INTERVAL,
        exp.DType.JSON,
        exp.DType.MAP,
        exp.DType.SMALLINT,
        exp.DType.STRUCT,
        exp.DType.TEXT,
        exp.DType.TIME,
        exp.DType.TIMESTAMP,
        exp.DType.TIMESTAMPLTZ,
        exp.DType.TIMESTAMPNTZ,
        exp.DType.TIMESTAMPTZ,
        exp.DType.TIMETZ,
        exp.DType.TINYINT,
        exp.DType.UUID,
        exp.DType.VARBINARY,
        exp.DType.VARCHAR,
        exp.DType.VARIANT,
        exp.DType.NULL,
    }
)


def check_shape(parsed: Parsed, node: exp.Expr, *, spark: bool) -> None:
    """Refuses a node, not what is below it; calls and tables are judged elsewhere.

    Raises:
        SqlNotSelect: the node writes.
        SqlRefused: it is nothing that is known to be harmless.
    """
    kind = type(node)
    if kind not in (SPARK_SHAPE if spark else TRINO_SHAPE):
        if isinstance(node, WRITES):
            raise SqlNotSelect(
                f"The SQL contains {_spoken(node)}; only a SELECT may run.",
                position=parsed.position(node),
            )
        if not isinstance(node, exp.Func):
            raise _refused(parsed, node, f"{_spoken(node)} is not supported in this SQL.")
    if (allowed := _ARGS.get(kind)) is not None:
        allowed = allowed | (_SPARK_ARGS.get(kind, _NONE) if spark else _NONE)
        for name, value in node.args.items():
            if value and name not in allowed:
                what = f"{_spoken(node)} with {name.strip('_').upper()} is not supported here."
                raise _refused(parsed, node, _TELLING.get(name, what))
    if isinstance(node, exp.DataType) and kind is exp.DataType and node.this not in _TYPES:
        raise _refused(parsed, node, f"The type {_type_name(node)} is not supported.")
    if isinstance(node, exp.Group) and not spark and node.args.get("all"):
        raise _refused(parsed, node, "GROUP BY ALL is not supported: name the columns.")


def _spoken(node: exp.Expr) -> str:
    if isinstance(node, exp.Command):
        return str(node.this).upper()[:40]
    name = type(node).__name__
    words = "".join(f" {char}" if char.isupper() else char for char in name)
    return words.strip().upper()


def _type_name(node: exp.DataType) -> str:
    return str(getattr(node.this, "value", node.this))[:60]


def _refused(parsed: Parsed, node: exp.Expr, why: str) -> SqlRefused:
    return SqlRefused(why, position=parsed.position(node))
