"""Rules of transformations that need no engine: bodies, statuses, messages of DuckDB."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.dbt_transformations.record import TransformationStatus, transformation_id
from app.dbt_transformations.schemas import TransformationCreate
from app.errors import AsgardError, EngineFailed, EngineUnreachable, SqlInvalid, TableNotFound
from app.failure import FailureCause
from app.warehouse.duckdb.session import engine_error
from app.warehouse.engine import IncrementalStrategy, Materialization, ModelSpec


@pytest.mark.parametrize(
    "change",
    [
        {"name": "1st"},
        {"name": "a-b"},
        {"name": "a" * 101},
        {"name": "a\n"},
        {"name": "ä"},
        {"sql_query": ""},
        {"materialization": "ephemeral"},
        {"incremental_strategy": "merge", "unique_key": ["id"]},
        {"materialization": "incremental", "incremental_strategy": "merge"},
        {"materialization": "incremental", "incremental_strategy": "delete_insert"},
        {"materialization": "incremental", "incremental_strategy": "upsert"},
        {"owner": ""},
        {"tags": [""]},
    ],
)
def test_a_body_of_the_wrong_shape_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TransformationCreate.model_validate({"name": "m", "sql_query": "SELECT 1 AS a", **change})


def test_a_field_that_is_left_out_or_null_has_its_default() -> None:
    body = {"name": "m", "sql_query": "SELECT 1", "description": None, "tags": None}
    assert TransformationCreate.model_validate(body).fields() == {
        "name": "m",
        "sql_query": "SELECT 1",
        "description": "",
        "tags": (),
        "owner": "dbt",
        "materialization": Materialization.TABLE,
        "incremental_strategy": None,
        "unique_key": (),
    }


@pytest.mark.parametrize(
    ("key", "strategy"),
    [((), IncrementalStrategy.APPEND), (("id",), IncrementalStrategy.MERGE)],
)
def test_an_incremental_model_merges_when_it_has_a_key(
    key: tuple[str, ...], strategy: IncrementalStrategy
) -> None:
    model = ModelSpec(
        schema_name="gold",
        name="m",
        sql="",
        materialization=Materialization.INCREMENTAL,
        unique_key=key,
    )
    assert model.strategy is strategy


def test_the_same_name_is_the_same_transformation() -> None:
    assert transformation_id("a") == transformation_id("a")
    assert transformation_id("a") != transformation_id("A")


def test_a_transformation_without_a_run_is_pending() -> None:
    assert TransformationStatus.of(None) is TransformationStatus.PENDING


@pytest.mark.parametrize(
    ("duckdb_message", "kind", "cause"),
    [
        ("Conversion Error: no number", SqlInvalid, FailureCause.SQL_ERROR),
        ("Out of Range Error: Overflow in multiplication", SqlInvalid, FailureCause.SQL_ERROR),
        ("Invalid Input Error: bad", SqlInvalid, FailureCause.SQL_ERROR),
        ("Out of Memory Error: failed to allocate", EngineFailed, FailureCause.OUT_OF_MEMORY),
        ("Permission Error: no", EngineFailed, FailureCause.PERMISSION_DENIED),
        ("INTERNAL Error: oh", EngineFailed, FailureCause.INTERNAL),
        ("IO Error: Could not connect", EngineUnreachable, FailureCause.ENGINE_UNREACHABLE),
        ("HTTP Error: 503", EngineUnreachable, FailureCause.ENGINE_UNREACHABLE),
        ("Binder Error: no such column", SqlInvalid, FailureCause.SQL_ERROR),
        ("Parser Error: syntax error", SqlInvalid, FailureCause.SQL_ERROR),
        (
            "Catalog Error: Table with name x does not exist!",
            TableNotFound,
            FailureCause.TABLE_NOT_FOUND,
        ),
        ("nothing that DuckDB would say", EngineFailed, FailureCause.INTERNAL),
    ],
)
def test_a_message_of_duckdb_becomes_the_error_it_means(
    duckdb_message: str, kind: type[AsgardError], cause: FailureCause
) -> None:
    for message in (duckdb_message, f"Runtime Error in model m (models/m.sql)\n  {duckdb_message}"):
        error = engine_error(message)
        assert type(error) is kind
        assert error.cause is cause


def test_a_message_shows_neither_the_compiled_sql_nor_its_path() -> None:
    error = engine_error(
        "Runtime Error in model m (models/m.sql)\n  Conversion Error: Could not convert 'x'\n\n"
        "  LINE 3: select secret from t\n          ^\n\n  compiled code at /tmp/w/m.sql"
    )
    assert error.detail == "Could not convert 'x'"


def test_an_internal_error_does_not_show_where_duckdb_is_installed() -> None:
    error = engine_error("INTERNAL Error: Failed to bind\n\nStack Trace:\n\n/opt/asgard/_duckdb.so")
    assert "Failed to bind" in error.detail
    assert "/opt" not in error.detail
