"""Checks and wraps a model's query alike for every engine."""

from collections.abc import Collection, Iterable, Sequence

from app.errors import EngineFailed, SqlInvalid
from app.failure import FailureCause
from app.sql.quoting import quoted
from app.warehouse.engine import ExtraColumn

TEXT = "varchar"


def check_key(columns: Iterable[str], key: Sequence[str]) -> None:
    """Raise `SqlInvalid` unless the query gives every column of the `unique_key`."""
    names = {column.lower() for column in columns}
    if missing := [name for name in key if name.lower() not in names]:
        raise SqlInvalid(
            f"unique_key names {', '.join(missing)}, which the query does not return.",
            missing_columns=missing,
        )


def with_extra_columns(extra_columns: Sequence[ExtraColumn], sql: str, names: Iterable[str]) -> str:
    """Return the query with the columns that Asgard adds to those of the query, `names`. Raises
    `SqlInvalid` if the query already has one of them."""
    if not extra_columns:
        return sql
    _refuse_clash(extra_columns, {name.lower() for name in names})
    added = ", ".join(f"{extra.expression} AS {quoted(extra.name)}" for extra in extra_columns)
    return f"SELECT query.*, {added}\nFROM (\n{sql}\n) AS query"


def null_key(key: Sequence[str], rows: int) -> EngineFailed:
    """Return the error for `rows` rows without a key: no later run could find them."""
    return EngineFailed(
        f"{rows} rows have no value in their unique_key ({', '.join(key)}).",
        cause=FailureCause.SQL_ERROR,
        hint="Filter them out in the SQL, or choose another unique_key.",
    )


def duplicate_key(key: Sequence[str], values: Sequence[object]) -> EngineFailed:
    """Return the error for a key of two rows, between which a merge cannot choose."""
    duplicate = ", ".join(f"{name} = {value!r}" for name, value in zip(key, values, strict=True))
    return EngineFailed(
        f"The query returns more than one row with {duplicate}; a merge needs one row per key.",
        cause=FailureCause.SQL_ERROR,
        hint="Make the query return one row per key, or use delete_insert.",
    )


def changed_by_cast(column: str, given: str, held: str) -> str:
    """Return the condition that a value of type `given` is changed by a cast to type `held`. No
    text fits another type: the engines read and write it differently."""
    name = quoted(column)
    if given.lower() == TEXT and held.lower() != TEXT:
        return f"{name} IS NOT NULL"
    return f"TRY_CAST(TRY_CAST({name} AS {held}) AS {given}) IS DISTINCT FROM {name}"


def changed_value(column: str, given: str, held: str) -> EngineFailed:
    """Return the error for values that the table's column cannot hold as they are."""
    return EngineFailed(
        f"The column {column} is {held} in the table, and cannot hold all values of the query "
        f"({given}) unchanged.",
        cause=FailureCause.SQL_ERROR,
        hint="Write the cast into the SQL, or run with full_refresh=true to replace the table.",
    )


def _refuse_clash(extra_columns: Sequence[ExtraColumn], names: Collection[str]) -> None:
    if clashes := [extra.name for extra in extra_columns if extra.name.lower() in names]:
        raise SqlInvalid(
            f"The query already has a column {clashes[0]}, which is added to every data product.",
            hint="Give the column another name with AS.",
        )
