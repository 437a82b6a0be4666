# ruff: noqa: S608 — identifiers are quoted, and the SQL has passed the guard
"""Computes the new contents of an incremental model's table from the old ones and a delta.

The table is rewritten as a whole in one commit (copy on write). It never collects delete files,
which would make it slower to read with every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.errors import EngineFailed, SqlInvalid
from app.failure import FailureCause
from app.sql.quoting import quoted
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
    picked = [_pick("d", c.name, (old.get(c.name) or c).held_as, True) for c in columns]
    return f"SELECT {', '.join(picked)} FROM {delta} AS d"


def _pick(source: str, name: str, held_as: str, present: bool) -> str:
    value = f"{source}.{quoted(name)}" if present else "NULL"
    return f"CAST({value} AS {held_as}) AS {quoted(name)}"


def check_key(columns: list[ResultColumn], key: tuple[str, ...]) -> None:
    names = {column.name for column in columns}
    if missing := [name for name in key if name not in names]:
        raise SqlInvalid(
            f"unique_key names {', '.join(missing)}, which the query does not give.",
            missing_columns=missing,
        )


def check_no_null_key(connection: DuckDBPyConnection, delta: str, key: tuple[str, ...]) -> None:
    """Raise `EngineFailed` if a key is null: no later run could find its row."""
    null = " OR ".join(f"{quoted(name)} IS NULL" for name in key)
    nulls = connection.execute(f"SELECT count(*) FROM {delta} WHERE {null}").fetchall()[0][0]
    if nulls:
        raise EngineFailed(
            f"{nulls} rows have no value in their unique_key ({', '.join(key)}).",
            cause=FailureCause.SQL_ERROR,
            hint="Filter them out in the SQL, or choose another unique_key.",
        )


def check_one_row_per_key(connection: DuckDBPyConnection, delta: str, key: tuple[str, ...]) -> None:
    """Raise `EngineFailed` if two rows have the same key: a merge cannot choose between them."""
    columns = ", ".join(quoted(name) for name in key)
    duplicate = connection.execute(
        f"SELECT {columns} FROM {delta} GROUP BY {columns} HAVING count(*) > 1 LIMIT 1"
    ).fetchall()
    if duplicate:
        values = ", ".join(
            f"{name} = {value!r}" for name, value in zip(key, duplicate[0], strict=True)
        )
        raise EngineFailed(
            f"The query gives more than one row with {values}; a merge needs one row per key.",
            cause=FailureCause.SQL_ERROR,
            hint="Make the query give one row per key, or use delete_insert.",
        )
