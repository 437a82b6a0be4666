"""Registers DuckDB as the embedded SQL engine."""

from app.config import Settings
from app.lakehouse.connection import Lake
from app.warehouse.adapter import CreatedEngine, SqlAdapter, Surroundings
from app.warehouse.duckdb.dbt_project import DuckDbTarget
from app.warehouse.duckdb.engine import DuckDbEngine


def _create(surroundings: Surroundings) -> CreatedEngine:
    engine = DuckDbEngine(
        lake=surroundings.lake,
        builder_lake=surroundings.builder_lake,
        publisher_lake=surroundings.publisher_lake,
        catalog=surroundings.catalog,
        store=surroundings.store,
        sql_guard=surroundings.sql_guard,
        home=surroundings.settings.home,
        workers=surroundings.settings.dbt_workers,
        telemetry=surroundings.telemetry,
    )
    return CreatedEngine(engine, warm=engine.warm, close=engine.close)


def _project_target(_: Settings, lake: Lake) -> DuckDbTarget:
    return DuckDbTarget(lake)


ADAPTER = SqlAdapter("duckdb", _create, _project_target, is_embedded=True)
