# ruff: noqa: S608 — identifiers are quoted, and the rows come from a table of our own
"""Writes the one statement that moves an increment from staging into its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import EngineFailed
from app.lakehouse.tables import Column
from app.sql.quoting import literal, quoted, unused
from app.warehouse.checks import (
    changed_by_cast,
    changed_value,
    duplicate_key,
    null_key,
)
from app.warehouse.engine import IncrementalStrategy


@dataclass(frozen=True)
class TrinoIncrement:
    """Merges `delta` into `target` (quoted names of tables), with the columns `new` and `old`."""

    target: str
    delta: str
    old: Sequence[Column]
    new: Sequence[Column]
    key: Sequence[str]
    strategy: IncrementalStrategy

    def added_columns(self) -> list[str]:
        existing = {column.name for column in self.old}
        return [
            f"ALTER TABLE {self.target} ADD COLUMN {quoted(column.name)} {column.type}"
            for column in self.new
            if column.name not in existing
        ]

    def changed_values(self) -> str | None:
        """Return a query for the first column, by name, with a value that the table's type would
        change, or None if all types are the same."""
        conditions = {
            column.name: changed_by_cast(column.name, column.type, self._held(column))
            for column in self.new
            if self._held(column) != column.type
        }
        if not conditions:
            return None
        names = " ".join(f"WHEN {c} THEN {literal(name)}" for name, c in conditions.items())
        return (
            f"SELECT CASE {names} END FROM {self.delta}\n"
            f"WHERE {' OR '.join(conditions.values())} LIMIT 1"
        )

    def refused_value(self, name: str) -> EngineFailed:
        """Return the error for a column that `changed_values` has found."""
        column = next(column for column in self.new if column.name == name)
        return changed_value(name, column.type, self._held(column))

    def statement(self) -> str:
        match self.strategy:
            case IncrementalStrategy.APPEND:
                return f"INSERT INTO {self.target} ({self._names()})\n{self._rows()}"
            case IncrementalStrategy.MERGE:
                return self._merge()
            case IncrementalStrategy.DELETE_INSERT:
                return self._delete_insert()

    def _merge(self) -> str:
        changed = [c.name for c in self.new if c.name not in self._key]
        update = ", ".join(f"{quoted(name)} = {self._delta}.{quoted(name)}" for name in changed)
        matched = f"WHEN MATCHED THEN UPDATE SET {update}\n" if update else ""
        return (
            f"MERGE INTO {self.target} AS {self._table} USING (\n{self._rows()}\n) "
            f"AS {self._delta} ON {self._match()}\n"
            f"{matched}WHEN NOT MATCHED THEN INSERT ({self._names()}) VALUES ({self._values()})"
        )

    def _delete_insert(self) -> str:
        """Replace rows in one commit: each key of the delta comes twice, once to delete only."""
        keys = ", ".join(quoted(name) for name in self._key)
        gone = ", ".join(
            quoted(c.name)
            if c.name in self._key
            else f"CAST(NULL AS {self._held(c)}) AS {quoted(c.name)}"
            for c in self.new
        )
        flag = self._unused("asgard_gone")
        return (
            f"MERGE INTO {self.target} AS {self._table} USING (\n"
            f"WITH rows AS ({self._rows()})\n"
            f"SELECT {self._names()}, false AS {flag} FROM rows\n"
            f"UNION ALL SELECT {gone}, true FROM (SELECT DISTINCT {keys} FROM rows)\n"
            f") AS {self._delta} ON {self._delta}.{flag} AND {self._match()}\n"
            "WHEN MATCHED THEN DELETE\n"
            f"WHEN NOT MATCHED AND NOT {self._delta}.{flag} "
            f"THEN INSERT ({self._names()}) VALUES ({self._values()})"
        )

    @property
    def _key(self) -> tuple[str, ...]:
        return tuple(name.lower() for name in self.key)

    def _rows(self) -> str:
        """Return the delta, with the types that the table already has for its columns."""
        picked = ", ".join(
            f"CAST({quoted(c.name)} AS {self._held(c)}) AS {quoted(c.name)}" for c in self.new
        )
        return f"SELECT {picked} FROM {self.delta}"

    def _held(self, column: Column) -> str:
        return next((c.type for c in self.old if c.name == column.name), column.type)

    def _names(self) -> str:
        return ", ".join(quoted(column.name) for column in self.new)

    def _values(self) -> str:
        return ", ".join(f"{self._delta}.{quoted(column.name)}" for column in self.new)

    def _match(self) -> str:
        names = map(quoted, self._key)
        return " AND ".join(f"{self._table}.{name} = {self._delta}.{name}" for name in names)

    @property
    def _table(self) -> str:
        return self._unused("old_rows")

    @property
    def _delta(self) -> str:
        return self._unused("new_rows")

    def _unused(self, alias: str) -> str:
        return unused(alias, (column.name for column in (*self.old, *self.new)))


def unusable_keys(delta: str, key: Sequence[str], *, unique: bool) -> str:
    """Return a query for a key that is null or, if keys have to be `unique`, occurs twice. It
    selects the number of rows and the key's values. No later run could find a row by a null."""
    columns = ", ".join(quoted(name.lower()) for name in key)
    unusable = " OR ".join(f"{quoted(name.lower())} IS NULL" for name in key)
    if unique:
        unusable = f"count(*) > 1 OR {unusable}"
    return f"SELECT count(*), {columns} FROM {delta} GROUP BY {columns}\nHAVING {unusable} LIMIT 1"


def refused_key(key: Sequence[str], row: Sequence[Any]) -> EngineFailed:
    """Return the error for a row of `unusable_keys`."""
    count, *values = row
    if None in values:
        return null_key(key, count)
    return duplicate_key(key, values)
