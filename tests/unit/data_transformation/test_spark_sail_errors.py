import pytest

from app.data_transformation.sail.errors import translated
from app.errors import EngineFailed, EngineUnreachable

SAID = [
    (
        "AnalysisException",
        "Table not found: [TABLE_OR_VIEW_NOT_FOUND] Table or view not found: default.nope",
        "There is no table or view nope.",
        "table_not_found",
    ),
    (
        "AnalysisException",
        'attribute ObjectName([Identifier("t"), Identifier("nope")]) is missing from the schema: '
        "cannot resolve attribute",
        "There is no column t.nope.",
        "sql_error",
    ),
    (
        "IllegalArgumentException",
        "invalid argument: found qualify at 34:41 expected 'AS', identifier",
        "Spark cannot parse the SQL at 'qualify' (character 34).",
        "sql_error",
    ),
    (
        "UnsupportedOperationException",
        "unknown function: frobnicate",
        "This Spark engine has no function frobnicate.",
        "sql_error",
    ),
    ("ArithmeticException", "divide by zero", "divide by zero", "sql_error"),
    (
        "AnalysisException",
        "external error: Execution error: it is broken",
        "it is broken",
        "sql_error",
    ),
    (
        "AnalysisException",
        "Resources exhausted: Failed to allocate additional 10 MB",
        "Spark ran out of the memory that the job requested.",
        "out_of_memory",
    ),
    (
        "AnalysisException",
        "Generic S3 error: Error performing GET http://127.0.0.1:1/x - Server returned non-2xx "
        "status code: 404 Not Found: NoSuchBucket",
        "The object store or the catalog refused a request from Spark; the log says which.",
        "internal",
    ),
    (
        "SparkConnectGrpcException",
        "<_InactiveRpcError: panicked at src/lib.rs>",
        "The Spark engine had an internal error. The run's log has the details.",
        "internal",
    ),
]


@pytest.mark.parametrize(("kind", "message", "detail", "cause"), SAID)
def test_errors_of_sail_are_translated_for_the_author_of_the_sql(
    kind: str, message: str, detail: str, cause: str
) -> None:
    error = translated(kind, message)
    assert isinstance(error, EngineFailed)
    assert error.detail == detail
    assert error.cause == cause


def test_an_outage_is_retryable() -> None:
    error = translated(
        "AnalysisException",
        "Generic S3 error: Error performing GET: error sending request for url",
    )
    assert isinstance(error, EngineUnreachable)
    assert error.detail == "Spark cannot reach the object store or the catalog."


def test_a_traceback_of_the_server_is_cut_off() -> None:
    error = translated("AnalysisException", "bad cast\n\nJVM stacktrace:\norg.apache.spark")
    assert error.detail == "bad cast"
