"""Refuses the columns that Spark adds to every Iceberg table."""

from collections.abc import Iterable

from sqlglot import exp

from app.errors import SqlRefused
from app.sql.parse import Parsed
from app.sql.tables import fold

ADDED = frozenset(
    (
        *("_deleted", "_file", "_last_updated_sequence_number", "_metadata", "_partition", "_pos"),
        *("_row_id", "_spec_id"),
    )
)
"""`_deleted` brings deleted rows back. The others show files and positions."""


def refuse_added_columns(parsed: Parsed, nodes: Iterable[exp.Expr]) -> None:
    """Check the nodes of a statement that reads tables. Files may have columns with these names.

    Raises:
        SqlRefused: something has such a name.
    """
    for node in nodes:
        if isinstance(node, exp.Identifier) and fold(node.name) in ADDED:
            raise SqlRefused(
                f"{node.name} is the name of a column that Spark adds to tables.",
                hint="If a column of a file has this name, give it another one in a temporary view "
                "that reads only files.",
                position=parsed.position(node),
            )
