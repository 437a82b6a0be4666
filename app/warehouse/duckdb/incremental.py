# ruff: noqa: S608 — identifiers are quoted, and the SQL has passed the guard
"""Computes the new contents of an incremental model's table from the old ones and a delta.

The table is rewritten as a whole in one commit (copy on write). It never collects delete files,
which would make it slower to read with every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.sql.quoting import quoted
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

    def _at(self, alias: str) -> str:
        if self.snapshot is None:
            return f"{self.target} AS {alias}"
        return f"{self.target} AS {alias} AT (VERSION => {int(self.snapshot)})"

    def sql(self, connection: DuckDBPyConnection) -> str:
        old = {c.name: c for c in describe(connection, f"SELECT * FROM {self._at('t')}")}
        new = {c.name: c for c in self.delta_columns}
        refuse_changed_values(connection, self.delta, old, self.delta_columns)
        unmatched, written = [], []
        for name in dict.fromkeys((*old, *new)):
            held_as = (old.get(name) or new[name]).held_as
            unmatched.append(_pick("t", name, held_as, name in old))
            from_delta = name in new
            written.append(
                _pick("d" if from_delta else "o", name, held_as, from_delta or self.merge)
            )
        match = " AND ".join(f"t.{quoted(k)} = d.{quoted(k)}" for k in self.key)
        return (
            f"SELECT {', '.join(unmatched)} FROM {self._at('t')} "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self.delta} AS d WHERE {match}) "
            f"UNION ALL SELECT {', '.join(written)} "
            f"FROM {self.delta} AS d {self._previous(old, new)}"
        )

    def _previous(self, old: dict[str, ResultColumn], new: dict[str, ResultColumn]) -> str:
        if not self.merge or not set(old) - set(new):
            return ""
        keys = ", ".join(f"t.{quoted(k)}" for k in self.key)
        match = " AND ".join(f"o.{quoted(k)} = d.{quoted(k)}" for k in self.key)
        return f"LEFT JOIN (SELECT DISTINCT ON ({keys}) * FROM {self._at('t')}) AS o ON {match}"


def append_sql(
    connection: DuckDBPyConnection, target: str, delta: str, columns: list[ResultColumn]
) -> str:
    """Return the delta, with the types that the table already has for its columns."""
    old = {c.name: c for c in describe(connection, f"SELECT * FROM {target}")}
    refuse_changed_values(connection, delta, old, columns)
    picked = [_pick("d", c.name, (old.get(c.name) or c).held_as, True) for c in columns]
    return f"SELECT {', '.join(picked)} FROM {delta} AS d"


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
