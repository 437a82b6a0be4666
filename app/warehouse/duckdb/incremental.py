# ruff: noqa: S608 — identifiers are quoted, and the SQL has passed the guard
"""Computes the new contents of an incremental model's table from the old ones and a delta.

The table is rewritten as a whole in one commit (copy on write). It never collects delete files,
which would make it slower to read with every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.sql.quoting import quoted, unused
from app.warehouse.checks import (
    changed_by_cast,
    changed_value,
    duplicate_key,
    null_key,
)
from app.warehouse.duckdb.types import ResultColumn, describe

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class DuckDbMerge:
    """Reads `target` at `snapshot`. None means that it has no snapshot yet, so it is empty."""

    target: str
    snapshot: str | None
    delta: str
    """The relation that holds the rows of this run."""
    delta_columns: list[ResultColumn]
    key: tuple[str, ...]
    merge: bool
    """Whether matched rows are updated and keep the columns that the delta does not have. Otherwise
    they are deleted, and the delta is inserted."""

    def _at(self, alias: str = "t") -> str:
        if self.snapshot is None:
            return f"{self.target} AS {alias}"
        return f"{self.target} AS {alias} AT (VERSION => {int(self.snapshot)})"

    def sql(self, connection: DuckDBPyConnection) -> str:
        old = {c.name: c for c in describe(connection, f"SELECT * FROM {self._at()}")}
        new = {c.name: c for c in self.delta_columns}
        refuse_changed_values(connection, self.delta, old, self.delta_columns)
        table, delta = (unused(alias, (*old, *new)) for alias in ("old_rows", "new_rows"))
        unmatched, written = [], []
        for name in dict.fromkeys((*old, *new)):
            held_as = (old.get(name) or new[name]).held_as
            unmatched.append(_pick(table, name, held_as, name in old))
            from_delta = name in new
            source = delta if from_delta else table
            written.append(_pick(source, name, held_as, from_delta or self.merge))
        match = " AND ".join(f"{table}.{quoted(k)} = {delta}.{quoted(k)}" for k in self.key)
        keeps_values = self.merge and bool(set(old) - set(new))
        previous = f"LEFT JOIN ({self._one_per_key()}) AS {table} ON {match}"
        return (
            f"SELECT {', '.join(unmatched)} FROM {self._at(table)} "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self.delta} AS {delta} WHERE {match}) "
            f"UNION ALL SELECT {', '.join(written)} "
            f"FROM {self.delta} AS {delta} {previous if keeps_values else ''}"
        )

    def _one_per_key(self) -> str:
        keys = ", ".join(quoted(k) for k in self.key)
        return f"SELECT DISTINCT ON ({keys}) * FROM {self._at()}"


def append_sql(
    connection: DuckDBPyConnection, target: str, delta: str, columns: list[ResultColumn]
) -> str:
    """Return the delta, with the types that the table already has for its columns."""
    old = {c.name: c for c in describe(connection, f"SELECT * FROM {target}")}
    refuse_changed_values(connection, delta, old, columns)
    alias = unused("new_rows", (column.name for column in columns))
    picked = [_pick(alias, c.name, (old.get(c.name) or c).held_as, True) for c in columns]
    return f"SELECT {', '.join(picked)} FROM {delta} AS {alias}"


def refuse_changed_values(
    connection: DuckDBPyConnection,
    delta: str,
    old: dict[str, ResultColumn],
    new: list[ResultColumn],
) -> None:
    """Raise `EngineFailed` if the table's type would change a value. Keys that differ could become
    the same."""
    for column in new:
        held = old.get(column.name, column)
        if held.held_as == column.held_as:
            continue
        changed = changed_by_cast(column.name, column.held_as, held.held_as)
        if connection.execute(f"SELECT 1 FROM {delta} WHERE {changed} LIMIT 1").fetchall():
            raise changed_value(column.name, column.trino_type, held.trino_type)


def _pick(source: str, name: str, held_as: str, present: bool) -> str:
    value = f"{source}.{quoted(name)}" if present else "NULL"
    return f"CAST({value} AS {held_as}) AS {quoted(name)}"


def check_no_null_key(connection: DuckDBPyConnection, delta: str, key: tuple[str, ...]) -> None:
    null = " OR ".join(f"{quoted(name)} IS NULL" for name in key)
    nulls = connection.execute(f"SELECT count(*) FROM {delta} WHERE {null}").fetchall()[0][0]
    if nulls:
        raise null_key(key, nulls)


def check_one_row_per_key(connection: DuckDBPyConnection, delta: str, key: tuple[str, ...]) -> None:
    columns = ", ".join(quoted(name) for name in key)
    duplicate = connection.execute(
        f"SELECT {columns} FROM {delta} GROUP BY {columns} HAVING count(*) > 1 LIMIT 1"
    ).fetchall()
    if duplicate:
        raise duplicate_key(key, duplicate[0])
