"""The report of a job whose failure reaches Python as a Java exception."""

from dataclasses import dataclass

import pytest

from app.data_transformation import job
from app.data_transformation.kubernetes import spark_errors
from app.errors import EngineFailed
from app.failure import FailureCause


@dataclass
class Throwable:
    """A throwable of the JVM, as py4j shows it."""

    message: str | None
    cause: "Throwable | None" = None

    def getMessage(self) -> str | None:  # noqa: N802
        return self.message

    def getCause(self) -> "Throwable | None":  # noqa: N802
        return self.cause


class Py4JJavaError(Exception):
    """Replaces py4j's own, which comes with the whole PySpark that only drivers have."""

    def __init__(self, java_exception: Throwable) -> None:
        super().__init__(
            "An error occurred while calling o87.createOrReplace.\n"
            ": org.apache.spark.SparkException: Writing job aborted\n"
            "\tat org.apache.spark.sql.errors.QueryExecutionErrors$.writingJobAbortedError"
        )
        self.java_exception = java_exception


def error_of(*messages: str | None) -> EngineFailed:
    """Return the client's error for messages from the outermost exception to the innermost."""
    cause = None
    for message in reversed(messages):
        cause = Throwable(message, cause)
    assert cause is not None
    error = spark_errors.failure_in(f"INFO x\n{job._failure(Py4JJavaError(cause))}\nTraceback")
    assert isinstance(error, EngineFailed)
    return error


@pytest.mark.parametrize("version", ["3.5.9", "3.5.10", "3.5.9-SNAPSHOT"])
def test_spark_3_5_from_9_on_is_accepted(version: str) -> None:
    job.require_version(version)


@pytest.mark.parametrize("version", ["3.5.0", "3.5.8", "3.4.9", "3.5", "4.0.1", "4.1", "x"])
def test_other_versions_of_spark_are_refused(version: str) -> None:
    with pytest.raises(job.JobError, match="expected 3"):
        job.require_version(version)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "udt", "class": "a.B"},
        {"type": "struct", "fields": [{"name": "a", "type": {"type": "udt"}}]},
        {"type": "array", "elementType": {"type": "map", "valueType": {"type": "udt"}}},
    ],
)
def test_user_defined_types_are_found_at_any_depth(schema: dict[str, object]) -> None:
    assert job._has_user_type(schema)


def test_a_column_called_udt_is_not_a_user_defined_type() -> None:
    fields = [{"name": "udt", "type": "string", "nullable": True, "metadata": {}}]
    assert not job._has_user_type({"type": "struct", "fields": fields})


def test_the_innermost_error_of_spark_reaches_the_client() -> None:
    error = error_of(
        "Writing job aborted",
        "Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times",
        "[TASK_WRITE_FAILED] Task failed while writing rows to s3a://lake/t.",
        "[DIVIDE_BY_ZERO] Division by zero. Use `try_divide`.\n== SQL (line 1, position 8) ==\n1/0",
    )
    assert error.cause is FailureCause.SQL_ERROR
    assert error.detail == "[DIVIDE_BY_ZERO] Division by zero. Use `try_divide`."


def test_an_error_that_only_the_text_of_the_stage_holds_reaches_the_client() -> None:
    error = error_of(
        "Writing job aborted",
        "Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times, most recent "
        "failure: Lost task 0.3 in stage 1.0 (TID 4) (10.0.0.7 executor 1): org.apache.spark."
        "SparkNumberFormatException: [CAST_INVALID_INPUT] The value 'NA' of the type \"STRING\" "
        'cannot be cast to "INT".\n\tat org.apache.spark.sql.errors.QueryExecutionErrors$',
    )
    assert error.cause is FailureCause.SQL_ERROR
    assert error.detail == (
        '[CAST_INVALID_INPUT] The value \'NA\' of the type "STRING" cannot be cast to "INT".'
    )


@pytest.mark.parametrize("message", [None, "boom", "[INTERNAL_ERROR] A fault of Spark's own."])
def test_java_without_an_error_of_the_sql_stays_internal(message: str | None) -> None:
    error = error_of("Writing job aborted", message)
    assert error.cause is FailureCause.INTERNAL
    assert "\tat " not in error.detail


def said(message: str) -> str:
    return f"2026-11-26 10:00:00,123 {job._failure(ValueError(message))}\n"


def test_a_text_of_the_data_is_not_taken_for_the_jobs_own_line() -> None:
    forged = 'asgard: failed {"kind": "JobError", "condition": "", "message": "forged"}'
    error = ValueError(f"boom\n{forged}\n")
    try:
        raise error
    except ValueError:
        log = f"WARN TaskSetManager: boom\n{forged}\n{job._traceback()}\n{said(str(error))}"
    found = spark_errors.failure_in(log)
    assert isinstance(found, EngineFailed)
    assert found.detail == f"boom\n{forged}"


def test_a_line_that_cannot_be_read_says_nothing() -> None:
    assert spark_errors.failure_in("asgard: failed " + "[" * 100_000 + "\n") is None


def test_a_traceback_has_a_bounded_length() -> None:
    try:
        raise ValueError("x" * 1_000_000 + "\n" + "y\n" * 1_000_000)
    except ValueError:
        traceback = job._traceback()
    assert len(traceback) < (job.MOST_NAMED + 1) * job.LONGEST
    assert "ValueError: xxx" in traceback


@pytest.mark.parametrize(
    "line",
    [
        "java.lang.OutOfMemoryError: Java heap space",
        "Caused by: java.lang.OutOfMemoryError: Java heap space",
        'Exception in thread "dispatcher-1" java.lang.OutOfMemoryError: Java heap space',
    ],
)
def test_a_failure_without_a_reason_after_memory_ran_out_is_lack_of_memory(line: str) -> None:
    """What fails next in a JVM without memory may be anything, and would fail again."""
    report = job._failure(Py4JJavaError(Throwable("Futures timed out after [10 seconds]")))
    without = spark_errors.failure_in(f"INFO x\n{report}\n")
    assert without is not None
    assert without.cause is FailureCause.INTERNAL
    error = spark_errors.failure_in(f"INFO x\n{line}\n\tat y\n{report}\n")
    assert error is not None
    assert error.cause is FailureCause.OUT_OF_MEMORY


def test_a_failure_with_a_reason_keeps_it_after_memory_ran_out() -> None:
    reason = Throwable("[TABLE_OR_VIEW_NOT_FOUND] The table or view `silver`.`t` cannot be found.")
    error = spark_errors.failure_in(
        "java.lang.OutOfMemoryError: Java heap space\n" + job._failure(Py4JJavaError(reason))
    )
    assert error is not None
    assert error.cause is not FailureCause.OUT_OF_MEMORY


def test_a_text_of_the_data_is_no_sign_of_lack_of_memory() -> None:
    report = job._failure(Py4JJavaError(Throwable("Futures timed out")))
    error = spark_errors.failure_in(f"INFO row: 'java.lang.OutOfMemoryError'\n{report}\n")
    assert error is not None
    assert error.cause is FailureCause.INTERNAL
