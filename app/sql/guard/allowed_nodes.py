"""Lists the tree nodes that SQL may contain apart from tables and function calls.

A node that is not listed is refused, so a construct that sqlglot learns to parse one day does not
pass unnoticed.
"""

import re

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
    exp.Pivot,
    exp.PivotAlias,
    exp.PivotAny,
}

_TAIL = ("order", "limit", "offset")
_SET = ("with_", "this", "expression", "distinct", *_TAIL)
# The arguments that these nodes may have, where the kind of node does not decide alone.
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
        exp.StrPosition: ("this", "substr"),
        exp.TableSample: ("method", "percent"),
        exp.Window: ("this", "partition_by", "order", "spec", "alias", "over"),
        exp.Limit: ("expression",),
    }.items()
}
_SPARK_ARGS: dict[type[exp.Expr], frozenset[str]] = {
    exp.Select: frozenset(("hint", "laterals", "cluster", "distribute", "sort", "pivots")),
    exp.Table: frozenset(("pivots", "laterals")),
    exp.Subquery: frozenset(("pivots", "laterals")),
    exp.Lateral: frozenset(("view", "outer")),
    exp.StrPosition: frozenset(("position",)),
    exp.TableSample: frozenset(("rows", "size", "seed")),
}
_NONE: frozenset[str] = frozenset()
_JOIN_WORDS = frozenset(("CROSS", "FULL", "INNER", "LEFT", "NATURAL", "OUTER", "RIGHT"))
"""ANTI, SEMI and ASOF are names to Trino: `FROM a ANTI JOIN b` gives `a` the alias ANTI."""
_SPARK_JOIN_WORDS = _JOIN_WORDS | {"ANTI", "SEMI"}
_ARG_REFUSALS = {
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


_KEYWORDS = frozenset(
    (
        # units of time
        *("CENTURY", "DAY", "DAYOFWEEK", "DAYOFWEEK_ISO", "DAYOFYEAR", "DAYS", "DAY_OF_MONTH"),
        *("DAY_OF_WEEK", "DAY_OF_YEAR", "DECADE", "DOW", "DOW_ISO", "DOY", "EPOCH", "ERA"),
        *("HOUR", "HOURS", "ISODOW", "ISOYEAR", "MICROSECOND", "MICROSECONDS", "MILLENNIUM"),
        *("MILLISECOND", "MILLISECONDS", "MINUTE", "MINUTES", "MONTH", "MONTHS", "NANOSECOND"),
        *("NANOSECONDS", "QUARTER", "QUARTERS", "SECOND", "SECONDS", "TIMEZONE"),
        *("TIMEZONE_HOUR", "TIMEZONE_MINUTE", "WEEK", "WEEKS", "YEAR", "YEARS", "YEAROFWEEK"),
        *("YEAR_OF_WEEK", "YOW", "D", "H", "HR", "HRS", "M", "MIN", "MINS", "MON", "MONS", "QTR"),
        *("S", "SEC", "SECS", "W", "Y", "YR", "YRS"),
        # sampling and overflow
        *("BERNOULLI", "SYSTEM", "ERROR", "TRUNCATE"),
    )
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?: [A-Za-z_][A-Za-z0-9_]*)*")
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEX = re.compile(r"[0-9A-Fa-f\s]*")
_PRINTED_QUOTED = (exp.Identifier, exp.National, exp.RawString, exp.UnicodeString)
_BY_NAME = (exp.Anonymous, exp.AnonymousAggFunc, exp.CombinedAggFunc, exp.Command)
"""Nodes whose names are compared with lists of names elsewhere."""


def check_printed(parsed: Parsed, node: exp.Expr) -> None:
    """Refuse text that sqlglot prints without quotes in any dialect, unless it is plain.

    Raises:
        SqlRefused: a word of SQL, a number or a plain name was expected.
    """
    if isinstance(node, (*_PRINTED_QUOTED, *_BY_NAME)):
        return
    if isinstance(node, exp.Literal):
        if not node.is_string and not _NUMBER.fullmatch(node.name):
            raise _refused(parsed, node, f"{node.name[:40]!r} is not a valid number.")
    elif isinstance(node, exp.HexString):
        if not _HEX.fullmatch(node.name):
            raise _refused(parsed, node, f"{node.name[:40]!r} is not a valid hexadecimal value.")
    elif isinstance(node, exp.Var):
        if node.name.upper() not in _KEYWORDS and not _is_argument_name(node):
            detail = f"{node.name[:40]!r} is not a valid unit or keyword here."
            raise _refused(parsed, node, detail)
    elif isinstance(node, exp.DataTypeParam):
        if not isinstance(node.this, exp.Literal) or node.this.is_string or node.expression:
            raise _refused(parsed, node, "A parameter of a type must be a number.")
    elif isinstance(node, exp.Extract):
        if not isinstance(node.this, exp.Var):
            raise _refused(parsed, node, "EXTRACT needs the name of a field without quotes.")
    elif isinstance(node, exp.Lateral) and node.args.get("view"):
        if node.alias and not _WORD.fullmatch(node.alias):
            detail = f"The name {node.alias[:40]!r} of a LATERAL VIEW must be a plain name"
            raise _refused(parsed, node, f"{detail} of letters, digits and underscores.")
    else:
        _check_words(parsed, node)


def _is_argument_name(node: exp.Var) -> bool:
    is_argument = isinstance(node.parent, exp.Kwarg) and node.arg_key == "this"
    return is_argument and _WORD.fullmatch(node.name) is not None


def _check_words(parsed: Parsed, node: exp.Expr) -> None:
    for value in node.args.values():
        for text in value if isinstance(value, list) else (value,):
            if isinstance(text, str) and text and not _WORDS.fullmatch(text):
                raise _refused(parsed, node, f"{text[:40]!r} is not a valid keyword here.")


def check_shape(parsed: Parsed, node: exp.Expr, *, spark: bool) -> None:
    """Check the node itself, not the nodes below it. Calls and tables are checked elsewhere.

    Raises:
        SqlNotSelect: the node writes.
        SqlRefused: the node is not known to be harmless.
    """
    kind = type(node)
    if kind not in (SPARK_SHAPE if spark else TRINO_SHAPE):
        if isinstance(node, WRITES):
            raise SqlNotSelect(
                f"The SQL contains {_kind_name(node)}; only a SELECT may run.",
                position=parsed.position(node),
            )
        if not isinstance(node, exp.Func):
            raise _refused(parsed, node, f"{_kind_name(node)} is not supported in this SQL.")
    if isinstance(node, exp.Star) and not _is_list(node):
        raise _refused(parsed, node, "STAR is only supported in a SELECT list or as count(*).")
    if (allowed := _ARGS.get(kind)) is not None:
        allowed = allowed | (_SPARK_ARGS.get(kind, _NONE) if spark else _NONE)
        for name, value in node.args.items():
            if value and name not in allowed:
                detail = f"{_kind_name(node)} with {name.strip('_').upper()} is not supported here."
                raise _refused(parsed, node, _ARG_REFUSALS.get(name, detail))
    if isinstance(node, exp.DataType) and kind is exp.DataType and node.this not in _TYPES:
        raise _refused(parsed, node, f"The type {_type_name(node)} is not supported.")
    if isinstance(node, exp.Join):
        _check_join(parsed, node, _SPARK_JOIN_WORDS if spark else _JOIN_WORDS)
    if isinstance(node, exp.Group) and not spark and node.args.get("all"):
        raise _refused(parsed, node, "GROUP BY ALL is not supported: name the columns.")


def _check_join(parsed: Parsed, join: exp.Join, words: frozenset[str]) -> None:
    for word in (join.method, join.side, join.kind):
        if word and word not in words:
            raise _refused(
                parsed, join, f"{word.removesuffix('_JOIN')} JOIN is not supported in this SQL."
            )


def _is_list(star: exp.Star) -> bool:
    holder = star.parent if not isinstance(star.parent, exp.Column) else star.parent.parent
    return holder is None or isinstance(holder, exp.Select | exp.Func | exp.Distinct)


def _kind_name(node: exp.Expr) -> str:
    if isinstance(node, exp.Command):
        return str(node.this).upper()[:40]
    name = type(node).__name__
    words = "".join(f" {char}" if char.isupper() else char for char in name)
    return words.strip().upper()


def _type_name(node: exp.DataType) -> str:
    return str(getattr(node.this, "value", node.this))[:60]


def _refused(parsed: Parsed, node: exp.Expr, detail: str) -> SqlRefused:
    return SqlRefused(detail, position=parsed.position(node))
