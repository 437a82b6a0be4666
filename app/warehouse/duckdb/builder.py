# ruff: noqa: S608 — identifiers are quoted, and the SQL has passed the guard
"""`python -m app.warehouse.duckdb.builder`: runs a warm dbt on a locked DuckDB, model by model.

`build` computes the model in this process. `send` writes the table's next rows into a file for the
publisher. This process can read the lake, but cannot change it.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.lakehouse.connection import Lake
from app.lakehouse.publish.published import ExpectedSnapshot
from app.lakehouse.publish.result_file import discard_result, write_result
from app.processes.worker_main import Emit, Handlers, serve
from app.processes.worker_spans import span
from app.sql.quoting import quoted
from app.warehouse.checks import check_key, with_extra_columns
from app.warehouse.dbt.invocation import Model, Workspace
from app.warehouse.duckdb.dbt_backend import BACKEND, use_connection
from app.warehouse.duckdb.incremental import (
    DuckDbMerge,
    append_sql,
    check_no_null_key,
    check_one_row_per_key,
)
from app.warehouse.duckdb.session import open_session, our_errors
from app.warehouse.duckdb.types import ResultColumn, describe
from app.warehouse.engine import IncrementalStrategy, ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY = "384MB"
BATCH_ROWS = 100_000


@dataclass(frozen=True)
class BuildResult:
    spec: ModelSpec
    relation: str
    columns: list[ResultColumn]


class DuckDbBuilder:
    def __init__(self, lake: Lake, folder: Path) -> None:
        self._lake = lake
        self._folder = folder
        self._connection = open_session(lake, folder / "scratch", MEMORY)
        self._workspace = Workspace(folder, BACKEND)
        self._workspace.run(
            Model("warm_up", "select 1 as one", "table", "", [], {}), lambda _: None
        )
        use_connection(self._connection)
        self._built: BuildResult | None = None

    def build(self, message: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """`{spec, sql}`: build the model. `sql` is in DuckDB's dialect, with views expanded."""
        self._discard()
        spec = ModelSpec.model_validate(message["spec"])
        with our_errors():
            return self._build(spec, message["sql"], emit)

    def _build(self, spec: ModelSpec, sql: str, emit: Emit) -> dict[str, Any]:
        columns = describe(self._connection, sql)
        if spec.extra_columns:
            sql = with_extra_columns(spec.extra_columns, sql, (c.name for c in columns))
            columns = describe(self._connection, sql)
        check_key((column.name for column in columns), spec.unique_key)
        model = Model(
            name=spec.name,
            sql=sql if spec.materialization.is_view else _as_held(sql, columns),
            materialized=spec.materialization.value,
            description=spec.description,
            tags=list(spec.tags),
            meta={"owner": spec.owner},
        )
        with span("dbt run"):
            self._workspace.run(model, emit)
        self._built = BuildResult(spec, model.relation, columns)
        rows = None
        if not spec.materialization.is_view:
            if spec.strategy and spec.strategy.needs_key:
                check_no_null_key(self._connection, model.relation, spec.unique_key)
            if spec.strategy is IncrementalStrategy.MERGE:
                check_one_row_per_key(self._connection, model.relation, spec.unique_key)
            counted = self._connection.execute(f"SELECT count(*) FROM {model.relation}").fetchall()
            rows = counted[0][0]
        return {
            "rows": rows,
            "columns": [{"name": c.name, "type": c.trino_type} for c in columns],
        }

    def send(self, message: dict[str, Any], _: Emit) -> dict[str, Any]:
        """`{base}`: write the rows that replace the table's rows or are added to them. `base` is
        the table's state that an incremental run starts from, or None if there is none."""
        if self._built is None:
            raise RuntimeError("send was called before build")
        base = ExpectedSnapshot(**message["base"]) if message["base"] else None
        with our_errors():
            reader = self._read(self._rows_of(self._built, base))
            write_result(self._folder, reader.schema, reader)
        return {}

    def _rows_of(self, built: BuildResult, base: ExpectedSnapshot | None) -> str:
        spec = built.spec
        delta = built.relation
        if base is None:
            return f"SELECT * FROM {delta}"
        target = ".".join(
            quoted(part) for part in (self._lake.catalog_name, spec.schema_name, spec.name)
        )
        if spec.strategy is IncrementalStrategy.APPEND:
            return append_sql(self._connection, target, delta, built.columns)
        increment = DuckDbMerge(
            target=target,
            snapshot=base.snapshot_id,
            delta=delta,
            delta_columns=built.columns,
            key=spec.unique_key,
            merge=spec.strategy is IncrementalStrategy.MERGE,
        )
        return increment.sql(self._connection)

    def _read(self, sql: str) -> pa.RecordBatchReader:
        return self._connection.cursor().execute(sql).to_arrow_reader(BATCH_ROWS)

    def discard(self, _: dict[str, Any], __: Emit) -> dict[str, Any]:
        self._discard()
        return {}

    def _discard(self) -> None:
        """Drop the result, which is no longer needed, to free its memory."""
        discard_result(self._folder)
        if self._built:
            kind = "VIEW" if self._built.spec.materialization.is_view else "TABLE"
            self._connection.execute(f"DROP {kind} IF EXISTS {self._built.relation}")
            self._built = None


def _as_held(sql: str, columns: list[ResultColumn]) -> str:
    if all(column.duckdb_type == column.held_as for column in columns):
        return sql
    return f"SELECT {', '.join(c.projection for c in columns)}\nFROM (\n{sql}\n) AS query"


def open_worker(handshake: dict[str, Any]) -> Handlers:
    worker = DuckDbBuilder(Lake.from_json(handshake["lake"]), Path(handshake["folder"]))
    # dbt and its manifest stay in memory: each collection that walks them costs 0.2 s.
    gc.collect()
    gc.freeze()
    return {"build": worker.build, "send": worker.send, "discard": worker.discard}


if __name__ == "__main__":
    serve(open_worker)
