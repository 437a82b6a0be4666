"""`python -m app.warehouse.trino.builder`: runs a warm dbt on Trino, one model at a time.

It has neither Trino's address nor its credentials. The gateway runs the statement.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from app.processes.worker_main import GatewayChannel, Handlers, serve
from app.processes.worker_spans import span
from app.warehouse.dbt.invocation import Model, Workspace
from app.warehouse.engine import ModelSpec
from app.warehouse.trino.dbt_backend import Session, backend


class TrinoBuilder:
    def __init__(self, catalog: str, folder: Path) -> None:
        self._session = Session()
        self._session.use()
        self._workspace = Workspace(folder, backend(catalog))
        # Loads what the first model needs.
        self._workspace.run(Model("warm_up", "select 1 as one", "view", "", [], {}), lambda _: None)

    def build(self, message: dict[str, Any], gateway: GatewayChannel) -> dict[str, Any]:
        """`{spec, sql, schema, name}`: build the model as that table, by one statement that the
        gateway runs."""
        spec = ModelSpec.model_validate(message["spec"])
        model = Model(
            name=spec.name,
            sql=message["sql"],
            materialized="view" if spec.materialization.is_view else "table",
            description=spec.description,
            tags=list(spec.tags),
            meta={"owner": spec.owner},
            config={"schema": message["schema"], "alias": message["name"]},
        )
        self._session.execute = lambda sql: gateway.ask({"statement": sql})
        self._session.forget_adapters()
        with span("dbt run"):
            self._workspace.run(model, gateway)
        return {}


def open_worker(handshake: dict[str, Any]) -> Handlers:
    worker = TrinoBuilder(handshake["catalog"], Path(handshake["folder"]))
    # dbt and its manifest stay in memory: each collection that walks them costs 0.2 s.
    gc.collect()
    gc.freeze()
    return {"build": worker.build}


if __name__ == "__main__":
    serve(open_worker)
