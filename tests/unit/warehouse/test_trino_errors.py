"""Trino's errors are error_for by type and name: errors of the SQL, the operator or Trino."""

from typing import Any

import pytest
from trino.exceptions import TrinoQueryError

from app.errors import AsgardError, EngineFailed
from app.failure import FailureCause
from app.warehouse.trino.errors import asgard_error

OF_THE_SQL = [
    "COLUMN_NOT_FOUND",
    "DIVISION_BY_ZERO",
    "EXPRESSION_NOT_AGGREGATE",
    "FUNCTION_NOT_FOUND",
    "GENERIC_USER_ERROR",
    "INVALID_ARGUMENTS",
    "INVALID_CAST_ARGUMENT",
    "INVALID_FUNCTION_ARGUMENT",
    "MISSING_COLUMN_ALIASES",
    "NOT_SUPPORTED",
    "NUMERIC_VALUE_OUT_OF_RANGE",
    "SUBQUERY_MULTIPLE_ROWS",
    "SYNTAX_ERROR",
    "TYPE_MISMATCH",
    "A_NAME_OF_A_LATER_TRINO",
]


def error_for(
    kind: str, name: str, message: str = "line 2:7: It is wrong", **more: Any
) -> AsgardError:
    error = {"errorType": kind, "errorName": name, "message": message, **more}
    return asgard_error(TrinoQueryError(error))


@pytest.mark.parametrize("name", OF_THE_SQL)
def test_an_error_of_the_sql_is_a_400_with_its_position(name: str) -> None:
    error = error_for("USER_ERROR", name, errorLocation={"lineNumber": 2, "columnNumber": 7})
    assert (error.status, error.problem, error.cause) == (400, "sql-invalid", "sql_error")
    assert (error.detail, error.members) == ("It is wrong", {"position": {"line": 2, "column": 7}})


@pytest.mark.parametrize("name", OF_THE_SQL)
def test_an_error_of_the_sql_without_a_position_is_a_400(name: str) -> None:
    error = error_for("USER_ERROR", name, "It is wrong")
    assert (error.status, error.problem, error.members) == (400, "sql-invalid", {})


def test_sql_beyond_the_limits_of_trino_is_a_400() -> None:
    error = error_for("USER_ERROR", "QUERY_HAS_TOO_MANY_STAGES", "It has 200 stages")
    assert (error.status, error.problem) == (400, "sql-too-large")


@pytest.mark.parametrize(
    ("kind", "name", "cause", "retryable"),
    [
        ("USER_ERROR", "PERMISSION_DENIED", "permission_denied", False),
        ("USER_ERROR", "CATALOG_NOT_FOUND", "table_not_found", False),
        ("USER_ERROR", "SCHEMA_NOT_FOUND", "table_not_found", False),
        ("USER_ERROR", "INVALID_SESSION_PROPERTY", "internal", False),
        ("USER_ERROR", "QUERY_REJECTED", "internal", False),
        ("USER_ERROR", "VIEW_IS_STALE", "sql_error", False),
        ("USER_ERROR", "TABLE_ALREADY_EXISTS", "internal", True),
        ("USER_ERROR", "TRANSACTION_CONFLICT", "internal", True),
        ("USER_ERROR", "USER_CANCELED", "cancelled", True),
        ("USER_ERROR", "ADMINISTRATIVELY_KILLED", "cancelled", True),
        ("USER_ERROR", "EXCEEDED_FUNCTION_MEMORY_LIMIT", "out_of_memory", False),
        ("INSUFFICIENT_RESOURCES", "EXCEEDED_LOCAL_MEMORY_LIMIT", "out_of_memory", False),
        ("INSUFFICIENT_RESOURCES", "EXCEEDED_TIME_LIMIT", "timeout", True),
        ("INSUFFICIENT_RESOURCES", "EXCEEDED_SCAN_LIMIT", "internal", True),
        ("INTERNAL_ERROR", "COMPILER_ERROR", "internal", False),
        ("EXTERNAL", "ICEBERG_BAD_DATA", "internal", False),
        ("EXTERNAL", "ICEBERG_CATALOG_ERROR", "engine_unreachable", True),
    ],
)
def test_an_error_that_other_sql_would_not_avoid_is_a_424_with_its_cause(
    kind: str, name: str, cause: str, retryable: bool
) -> None:
    error = error_for(kind, name, errorLocation={"lineNumber": 1, "columnNumber": 1})
    assert isinstance(error, EngineFailed)
    assert (error.status, error.cause) == (424, FailureCause(cause))
    assert error.retryable is retryable


def test_a_missing_table_is_a_400_that_names_it() -> None:
    error = error_for("USER_ERROR", "TABLE_NOT_FOUND", "Table 'iceberg.silver.t' does not exist")
    assert (error.status, error.members["missing"]) == (400, ["silver.t"])


@pytest.mark.parametrize("name", ["ABANDONED_QUERY", "NO_NODES_AVAILABLE"])
def test_an_unavailable_trino_is_a_503(name: str) -> None:
    assert error_for("USER_ERROR", name).status == 503
