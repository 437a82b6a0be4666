"""Refuses the columns that Spark and Trino add to every Iceberg table."""

import re
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
_HIDDEN = re.compile(r"\$[a-z_]+")
"""Trino's `"$path"`, `"$partition"`, `"$file_modified_time"`, and what it may add one day."""


def refuse_hidden_column(parsed: Parsed, identifier: exp.Identifier) -> None:
    """Check a name in Trino's dialect.

    Raises:
        SqlRefused: Trino has such names for columns of its own.
    """
    if _HIDDEN.fullmatch(fold(identifier.name)):
        raise SqlRefused(
            f"The name {identifier.name} is not supported: Trino adds columns with such names to "
            "tables.",
            hint="Select only columns of the table, and use names that do not begin with $.",
            position=parsed.position(identifier),
        )


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
