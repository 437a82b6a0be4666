"""`python -m app.warehouse.dbt.trino_worker`: one warm dbt on Trino, one model at a time."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from app.errors import AsgardError
from app.warehouse.dbt.on_trino import Session, model_config, model_meta
from app.warehouse.dbt.workspace import Model, Workspace
from app.warehouse.engine import ModelSpec
from app.warehouse.trino_connection import TrinoConnection
from app.worker_loop import Emit, Handlers, serve
from app.worker_spans import span


class ModelWorker:
    def __init__(self, trino: TrinoConnection, folder: Path) -> None:
        self._session = Session(trino)
        self._session.use()
        self._workspace = Workspace(folder, self._session.backend())
        self._warm_up(trino.schema)

    def build(self, message: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """`{spec, sql, run_id, schema, name}`: the model becomes that table, by one statement.
        Emits the ids of its queries before Trino runs them."""
        spec = ModelSpec.model_validate(message["spec"])
        run_id = message["run_id"]
        self._session.on_query = lambda query_id: emit({"query": query_id})
        self._session.on_call = lambda outcome, seconds: emit(
            {"called": ["trino", "query", outcome, seconds]}
        )
        self._session.error = None
        model = Model(
            name=spec.name,
            sql=message["sql"],
            materialized="view" if spec.materialization.is_view else "table",
            description=spec.description,
            tags=list(spec.tags),
            meta=model_meta(spec.owner, run_id),
            config=model_config(message["schema"], message["name"], run_id),
        )
        with span("dbt run") as self._session.run:
            self._workspace.run(model, emit)
        return {}

    def _warm_up(self, schema: str) -> None:
        """Loads what the first model needs. A Trino that is away fails a model, not the worker."""
        model = Model(
            name="warm_up",
            sql="select 1 as one",
            materialized="view",
            description="",
            tags=[],
            meta={},
            config={"schema": schema},
        )
        try:
            self._workspace.run(model, lambda _: None)
        except AsgardError:
            return


def open_worker(hello: dict[str, Any]) -> Handlers:
    trino = TrinoConnection.from_json(hello["trino"])
    worker = ModelWorker(trino, Path(hello["folder"]))
    # dbt and its manifest stay for good: collections that walk them cost 0.2 s each.
    gc.collect()
    gc.freeze()
    return {"build": worker.build}


if __name__ == "__main__":
    serve(open_worker)
