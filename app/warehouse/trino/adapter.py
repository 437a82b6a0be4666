"""Registers Trino as a SQL engine, and connects to it with the settings."""

from app.config import Settings
from app.lakehouse.connection import Lake
from app.warehouse.adapter import CreatedEngine, SqlAdapter, Surroundings
from app.warehouse.trino.connection import TrinoConnection
from app.warehouse.trino.dbt_project import TrinoTarget
from app.warehouse.trino.engine import TrinoEngine


def trino_connection(settings: Settings) -> TrinoConnection:
    password, token = settings.trino_password, settings.trino_jwt_token
    verify = {"true": True, "false": False}.get(settings.trino_verify.lower())
    return TrinoConnection(
        host=settings.trino_host or "",
        port=settings.trino_port,
        user=settings.trino_user,
        catalog=settings.trino_catalog,
        schema=settings.gold_schema,
        password=password.get_secret_value() if password else None,
        jwt_token=token.get_secret_value() if token else None,
        http_scheme=settings.trino_http_scheme,
        verify=settings.trino_verify if verify is None else verify,
    )


def _create(surroundings: Surroundings) -> CreatedEngine:
    engine = TrinoEngine(
        connection=trino_connection(surroundings.settings),
        catalog=surroundings.catalog,
        store=surroundings.store,
        sql_guard=surroundings.sql_guard,
        home=surroundings.settings.home,
        workers=surroundings.settings.dbt_workers,
        telemetry=surroundings.telemetry,
    )
    return CreatedEngine(
        engine, warm=engine.warm, close=engine.close, probes={"trino": engine.reach}
    )


def _project_target(settings: Settings, _: Lake) -> TrinoTarget:
    return TrinoTarget(trino_connection(settings))


ADAPTER = SqlAdapter("trino", _create, _project_target)
