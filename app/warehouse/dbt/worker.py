# ruff: noqa: S608 — identifiers are quoted, and the SQL has passed the guard
"""`python -m app.warehouse.dbt.worker`: one warm dbt on a locked DuckDB, one model at a time.

`build` computes the model into this process; `publish`, called once the run is known to be still
ours, makes it the contents of its table.
"""

from __future__ import annotations

import gc
import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import EngineFailed, SqlInvalid
from app.lakehouse.connection import Lake
from app.warehouse.dbt.contents import Increment, append_sql, check_key, check_one_row_per_key
from app.warehouse.dbt.on_duckdb import BACKEND, take_over
from app.warehouse.dbt.workspace import Model, Workspace
from app.warehouse.duckdb_session import open_session, our_errors
from app.warehouse.duckdb_types import ResultColumn, describe, literal, quoted
from app.warehouse.engine import IncrementalStrategy, ModelSpec
from app.warehouse.publish import Base, Published, append_table, replace_table
from app.worker_loop import Emit, Handlers, serve
from app.worker_spans import span

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog.rest import RestCatalog

MEMORY = "384MB"
BATCH_ROWS = 100_000
PUBLISH_ATTEMPTS = 3


@dataclass(frozen=True)
class Built:
    spec: ModelSpec
    relation: str
    columns: list[ResultColumn]
    base: Base | None
    """The state of the table that an incremental run adds to; None: the table is made anew."""


class ModelWorker:
    def __init__(self, lake: Lake, folder: Path) -> None:
        self._lake = lake
        scratch = folder / "scratch"
        self._connection = open_session(lake, scratch, MEMORY)
        self._catalog: RestCatalog = lake.open_catalog()
        importlib.import_module("app.warehouse.commit")
        self._workspace = Workspace(folder, BACKEND)
        self._workspace.run(
            Model("warm_up", "select 1 as one", "table", "", [], {}), lambda _: None
        )
        take_over(self._connection)
        self._built: Built | None = None

    def build(self, message: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """`{spec, sql}`, where `sql` is the spec's in DuckDB's dialect, views expanded."""
        self._discard()
        spec = ModelSpec.model_validate(message["spec"])
        with our_errors():
            return self._build(spec, message["sql"], emit)

    def _build(self, spec: ModelSpec, sql: str, emit: Emit) -> dict[str, Any]:
        base = self._base(spec)
        sql = with_extra_columns(spec, sql, describe(self._connection, sql))
        columns = describe(self._connection, sql)
        check_key(columns, spec.unique_key)
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
        self._built = Built(spec, model.relation, columns, base)
        rows = None
        if not spec.materialization.is_view:
            if spec.strategy is IncrementalStrategy.MERGE:
                check_one_row_per_key(self._connection, model.relation, spec.unique_key)
            counted = self._connection.execute(f"SELECT count(*) FROM {model.relation}").fetchall()
            rows = counted[0][0]
        return {
            "rows": rows,
            "columns": [{"name": c.name, "type": c.trino_type} for c in columns],
        }

    def publish(self, message: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """`{run_id}`: what was built last becomes the contents of its table."""
        built = self._built
        if built is None:
            raise RuntimeError("publish was called before build")
        try:
            with our_errors():
                published = self._publish_patiently(built, message["run_id"], emit)
        finally:
            self._discard()
        published = published.model_copy(update={"catalog_ref": self._lake.catalog.ref})
        return published.model_dump(mode="json")

    def _publish_patiently(self, built: Built, run_id: str, emit: Emit) -> Published:
        """Somebody who writes to the table by other means may come first, now and then."""
        for left in reversed(range(PUBLISH_ATTEMPTS)):
            try:
                with span("commit"):
                    return self._publish(built, run_id)
            except EngineFailed as error:
                if not left or "changed_table" not in error.members:
                    raise
                emit({"commit_again": "stale"})
                built = replace(built, base=self._base(built.spec))
        raise RuntimeError("unreachable")

    def _publish(self, built: Built, run_id: str) -> Published:
        spec = built.spec
        delta = built.relation
        if built.base is None:
            reader = self._read(f"SELECT * FROM {delta}")
            return replace_table(self._catalog, spec.table, reader, run_id=run_id)
        target = ".".join(
            quoted(part) for part in (self._lake.catalog_name, spec.schema_name, spec.name)
        )
        if spec.strategy is IncrementalStrategy.APPEND:
            sql = append_sql(self._connection, target, delta, built.columns)
            return append_table(
                self._catalog, spec.table, self._read(sql), run_id=run_id, add_columns=True
            )
        increment = Increment(
            target=target,
            snapshot=built.base.snapshot_id,
            delta=delta,
            delta_columns=built.columns,
            key=spec.unique_key,
            merge=spec.strategy is IncrementalStrategy.MERGE,
        )
        reader = self._read(increment.sql(self._connection))
        return replace_table(self._catalog, spec.table, reader, run_id=run_id, base=built.base)

    def _base(self, spec: ModelSpec) -> Base | None:
        from pyiceberg.exceptions import NoSuchTableError

        if spec.strategy is None or spec.full_refresh:
            return None
        try:
            table = self._catalog.load_table(spec.table)
        except NoSuchTableError:
            return None
        snapshot = table.metadata.current_snapshot_id
        return Base(None if snapshot is None else str(snapshot))

    def _read(self, sql: str) -> pa.RecordBatchReader:
        return self._connection.cursor().execute(sql).to_arrow_reader(BATCH_ROWS)

    def _discard(self) -> None:
        """What was built is not needed any more: gives its memory back."""
        if self._built:
            kind = "VIEW" if self._built.spec.materialization.is_view else "TABLE"
            self._connection.execute(f"DROP {kind} IF EXISTS {self._built.relation}")
            self._built = None


def with_extra_columns(spec: ModelSpec, sql: str, columns: list[ResultColumn]) -> str:
    if not spec.extra_columns:
        return sql
    taken = {column.name.lower() for column in columns}
    if twice := [extra.name for extra in spec.extra_columns if extra.name.lower() in taken]:
        raise SqlInvalid(
            f"The query already has a column {twice[0]}, which is added to every data product.",
            hint="Give the column another name with AS.",
        )
    added = ", ".join(
        f"{'now()' if extra.value is None else literal(extra.value)} AS {quoted(extra.name)}"
        for extra in spec.extra_columns
    )
    return f"SELECT *, {added}\nFROM (\n{sql}\n) AS query"


def _as_held(sql: str, columns: list[ResultColumn]) -> str:
    if all(column.duckdb_type == column.held_as for column in columns):
        return sql
    return f"SELECT {', '.join(c.projection for c in columns)}\nFROM (\n{sql}\n) AS query"


def open_worker(hello: dict[str, Any]) -> Handlers:
    worker = ModelWorker(Lake.from_json(hello["lake"]), Path(hello["folder"]))
    # dbt and its manifest stay for good: collections that walk them cost 0.2 s each.
    gc.collect()
    gc.freeze()
    return {"build": worker.build, "publish": worker.publish}


if __name__ == "__main__":
    serve(open_worker)
