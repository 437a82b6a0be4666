"""Converts Arrow's types into those of Iceberg and Trino, and changes schemas."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.types as t
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import (
    Schema,
    assign_fresh_schema_ids,
    make_compatible_name,
    sanitize_column_names,
)
from pyiceberg.table.update import AddSchemaUpdate, AssertCurrentSchemaId, SetCurrentSchemaUpdate
from pyiceberg.types import ListType, MapType, StructType

from app.errors import EngineFailed
from app.failure import FailureCause

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyiceberg.table import Transaction
    from pyiceberg.types import IcebergType, NestedField


def lake_schema(schema: pa.Schema) -> pa.Schema:
    """Return the same columns, all optional, with types that Iceberg can hold."""
    columns = pa.schema([pa.field(f.name, lake_type(f.type, f.name), True) for f in schema])
    for field in columns:
        _refuse_names(field.name, field)
    if dotted := {name for name in columns.names if "." in name}:
        nested = pa.schema([field for field in columns if t.is_nested(field.type)])
        for field in nested:
            paths = iceberg_schema(pa.schema([field])).column_names
            refuse_paths(dotted - {field.name}, paths)
    return columns


def _refuse_names(path: str, field: pa.Field) -> None:
    """Raise `EngineFailed` for a name that engines cut off or cannot read, at any depth."""
    if not field.name or "\0" in field.name:
        fault = "a NUL character in its name" if field.name else "no name"
        raise EngineFailed(
            f"The column or field {path!r} has {fault}.",
            cause=FailureCause.SQL_ERROR,
            hint="Give it another name in the SQL.",
        )
    inner = [field.type.field(number) for number in range(field.type.num_fields)]
    if t.is_struct(field.type):
        _refuse_same_fields(path, (each.name for each in inner))
    for each in inner:
        # The entries of lists and maps have names of Arrow's own.
        below = f"{path}.{each.name}" if t.is_struct(field.type) else path
        _refuse_names(below, each)


def refuse_paths(names: Iterable[str], paths: Iterable[str]) -> None:
    """Raise `EngineFailed` if a column has the path of a nested field as its name: Iceberg could
    not tell the two apart."""
    if ambiguous := sorted({*names} & {*paths}):
        raise EngineFailed(
            f"The column {ambiguous[0]!r} has the name of a nested field of another column.",
            cause=FailureCause.SQL_ERROR,
            hint="Give the column another name with AS.",
        )


def refuse_spellings(names: Iterable[str]) -> None:
    """Raise `EngineFailed` if two columns differ only in case: no engine could read the table."""
    spellings: dict[str, str] = {}
    for name in names:
        if (other := spellings.setdefault(name.lower(), name)) != name:
            raise EngineFailed(
                f"The columns {other!r} and {name!r} differ only in case.",
                cause=FailureCause.SQL_ERROR,
                hint="Give both the same name with AS, or replace the table's rows and columns.",
            )


def _refuse_same_fields(path: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise EngineFailed(
                f"The column {path!r} has several fields named {name!r} (case is ignored).",
                cause=FailureCause.SQL_ERROR,
                hint="Give one of them another name in the SQL.",
            )
        seen.add(name.lower())


def lake_type(kind: pa.DataType, column: str) -> pa.DataType:
    """Return `kind`, or the narrowest type that holds its values. Raises `EngineFailed` if there is
    none."""
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return pa.list_(pa.field("element", lake_type(kind.value_type, column), True))
    if t.is_struct(kind):
        return pa.struct(
            [pa.field(f.name, lake_type(f.type, f"{column}.{f.name}"), True) for f in kind]
        )
    if t.is_map(kind):
        return pa.map_(lake_type(kind.key_type, column), lake_type(kind.item_type, column))
    if t.is_dictionary(kind):
        return lake_type(kind.value_type, column)
    if isinstance(kind, pa.BaseExtensionType):
        return kind if isinstance(kind, pa.UuidType) else lake_type(kind.storage_type, column)
    if t.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    if t.is_decimal(kind) and kind.precision <= 38:
        return pa.decimal128(kind.precision, kind.scale)
    for matches, result in (
        (lambda k: t.is_uint32(k) or t.is_uint64(k), pa.int64()),
        (lambda k: t.is_integer(k) and k.bit_width < 32, pa.int32()),
        (t.is_float16, pa.float32()),
        (t.is_time, pa.time64("us")),
        (t.is_date64, pa.date32()),
        (t.is_null, pa.string()),
    ):
        if matches(kind):
            return result
    if t.is_decimal(kind) or t.is_duration(kind) or t.is_interval(kind) or t.is_union(kind):
        raise EngineFailed(
            f"Column {column!r} has the type {kind}, which an Iceberg table cannot hold.",
            cause=FailureCause.SQL_ERROR,
            hint="Cast it in the SQL, for example to varchar.",
        )
    return kind


def cast(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast the rows. A value that does not fit its column (a sum beyond 64 bits) is a SQL
    error."""
    try:
        return rows.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise EngineFailed(
            f"A value does not fit the type of its column: {error}",
            cause=FailureCause.SQL_ERROR,
            hint="Cast the column in the SQL to the type that the table has for it.",
        ) from error


def aligned(reader: pa.RecordBatchReader, schema: Schema) -> Iterator[pa.RecordBatch]:
    """Yield the batches with the columns of the schema, in its order. Missing ones are null."""
    columns = schema_to_pyarrow(schema, include_field_ids=False)
    present = set(reader.schema.names)
    for batch in reader:
        yield pa.RecordBatch.from_arrays(
            [
                batch.column(field.name)
                if field.name in present
                else pa.nulls(batch.num_rows, field.type)
                for field in columns
            ],
            names=columns.names,
        )


def set_schema(transaction: Transaction, columns: pa.Schema) -> None:
    """Set the columns. Those of the same name and type keep their field id. All others get new ids,
    so that no reader of an old snapshot confuses two columns."""
    metadata = transaction.table_metadata
    old = metadata.schema()
    next_id = partial(next, count(metadata.last_column_id + 1))
    fields: list[NestedField] = []
    for field in iceberg_schema(columns).fields:
        same = next((f for f in old.fields if f.name == field.name and _same_type(f, field)), None)
        if same:
            fields.append(same.model_copy(update={"required": False}))
        else:
            fields.extend(assign_fresh_schema_ids(Schema(field), next_id).fields)
    if tuple(fields) == old.fields:
        return
    known = next((s.schema_id for s in metadata.schemas if s.fields == tuple(fields)), None)
    requirements = (AssertCurrentSchemaId(current_schema_id=old.schema_id),)
    if known is None:
        schema = Schema(*fields, schema_id=max(s.schema_id for s in metadata.schemas) + 1)
        transaction._apply(
            (AddSchemaUpdate(schema_=schema), SetCurrentSchemaUpdate(schema_id=-1)), requirements
        )
    else:
        transaction._apply((SetCurrentSchemaUpdate(schema_id=known),), requirements)


def add_columns(transaction: Transaction, columns: list[pa.Field]) -> None:
    with transaction.update_schema() as update:
        update.union_by_name(iceberg_schema(pa.schema(columns)))


def iceberg_schema(columns: pa.Schema) -> Schema:
    """Raise `EngineFailed` if the columns cannot be those of one table."""
    try:
        return assign_fresh_schema_ids(Catalog._convert_schema_if_needed(columns))
    except ValueError as error:
        raise EngineFailed(
            f"The columns cannot be stored in a table: {error}.", cause=FailureCause.SQL_ERROR
        ) from None


def with_names_of_files(schema: Schema) -> Schema:
    """Return the schema with the names that Parquet files have for its columns: `a b` becomes
    `a_x20b`. Raises `EngineFailed` if two columns or fields get the same name."""
    if same := _same_in_files(schema.as_struct()):
        raise EngineFailed(
            f"The columns {same[0]!r} and {same[1]!r} get the same name in Parquet files. There, "
            "special characters are replaced with their codes, and a leading digit gets an "
            "underscore.",
            cause=FailureCause.SQL_ERROR,
            hint="Give one of them another name with AS.",
        )
    return sanitize_column_names(schema)


def _same_in_files(kind: IcebergType) -> tuple[str, str] | None:
    """Return two names of one struct, at any depth, that are equal in files."""
    seen: dict[str, str] = {}
    if isinstance(kind, ListType):
        return _same_in_files(kind.element_type)
    if isinstance(kind, MapType):
        return _same_in_files(kind.key_type) or _same_in_files(kind.value_type)
    for field in kind.fields if isinstance(kind, StructType) else ():
        name = make_compatible_name(field.name)
        if name in seen:
            return seen[name], field.name
        seen[name] = field.name
        if same := _same_in_files(field.field_type):
            return same
    return None


def _same_type(left: NestedField, right: NestedField) -> bool:
    return _without_ids(left) == _without_ids(right)


def _without_ids(field: NestedField) -> IcebergType:
    return assign_fresh_schema_ids(Schema(field)).fields[0].field_type
