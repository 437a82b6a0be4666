"""Translates Spark's own errors into words for the author of the SQL."""

import json
import re

from app.errors import AsgardError, EngineFailed, EngineUnreachable
from app.failure import FailureCause

REASON = re.compile(r"^(?:[\d-]{10} [\d:,]{12} )?asgard: failed (.*)$", re.MULTILINE)
"""The line in which `job.py` says why it failed."""
MEMORY = re.compile(
    r"OutOfMemoryError|OOMKilled|SparkOutOfMemoryError|GC overhead limit", re.IGNORECASE
)
JVM_MEMORY = re.compile(
    r'^(?:Caused by: |Exception in thread ".*" )?java\.lang\.OutOfMemoryError\b', re.MULTILINE
)
EXECUTOR_KILLED = re.compile(r"exit code:? ?137|exited with code 137", re.IGNORECASE)
"""Spark calls that a "possible" lack of memory. If it is one, Kubernetes says OOMKilled."""
UNREACHABLE = re.compile(
    r"Connection refused|UnknownHostException|connect timed out|Read timed out|"
    r"NoHttpResponseException|Connect to .{1,300} failed|SdkClientException: Unable to execute"
)
DENIED = re.compile(r"Access ?Denied|Status Code: 40[13]|NotAuthorizedException|ForbiddenException")
NAME = re.compile(r"`([^`]+)`")
TAIL = re.compile(
    r"(;? line \d+ pos \d+;?|\n\n?JVM stacktrace|\n== SQL|;\n'|\nDriver stacktrace|\n\tat ).*",
    re.DOTALL,
)
LONGEST = 2000
OUT_OF_MEMORY_HINT = "Request more with executor_memory, driver_memory or executor_instances."


def failure_in(log: str) -> AsgardError | None:
    """Returns the job's own last error, if it logged one."""
    reasons = REASON.findall(log)
    if not reasons:
        return out_of_memory() if MEMORY.search(log) else None
    try:
        # The job's own line is the last one: a text of the data may look like one.
        report = json.loads(reasons[-1])
        error = translated(report["kind"], report["condition"] or "", report["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if error.cause is FailureCause.INTERNAL and JVM_MEMORY.search(log):
        return out_of_memory()  # What fails next in such a JVM may not name the reason.
    return error


def out_of_memory() -> EngineFailed:
    return EngineFailed(
        "Spark ran out of the memory that the job requested.",
        cause=FailureCause.OUT_OF_MEMORY,
        hint=OUT_OF_MEMORY_HINT,
    )


def killed(what: str) -> EngineFailed:
    return EngineFailed(
        f"The {what} was killed (exit code 137). Kubernetes does not say that memory ran out.",
        hint="Run it again. If it happens again, look at the node's events and at its memory.",
        retryable=True,
    )


def translated(kind: str, condition: str, message: str) -> AsgardError:
    """Returns the error. `kind` is the exception's class, `condition` Spark's name of the error."""
    if MEMORY.search(message):
        return out_of_memory()
    if kind == "JobError":
        return EngineFailed(message, cause=FailureCause.SQL_ERROR)
    if condition.startswith("TABLE_OR_VIEW_NOT_FOUND"):
        return EngineFailed(
            f"There is no table or view {'.'.join(_names(message)) or message}.",
            cause=FailureCause.TABLE_NOT_FOUND,
        )
    if condition.startswith("UNRESOLVED_COLUMN"):
        name = (NAME.findall(message) or ["with that name"])[0]
        return EngineFailed(f"There is no column {name}.", cause=FailureCause.SQL_ERROR)
    if "PATH_NOT_FOUND" in condition or "FileNotFoundException" in message:
        return EngineFailed(
            "A file that the job reads was removed; nothing was written.",
            cause=FailureCause.TABLE_NOT_FOUND,
            hint="Run it again: it will read the files that are there now.",
        )
    if condition and not condition.startswith("INTERNAL_ERROR"):
        return EngineFailed(_cleaned(message), cause=FailureCause.SQL_ERROR)
    if EXECUTOR_KILLED.search(message):
        return killed("executor")
    if UNREACHABLE.search(message):
        return EngineUnreachable("Spark cannot reach the object store or the catalog.")
    if DENIED.search(message):
        return EngineFailed(
            "The object store or the catalog refused a request from Spark; the log says which.",
            cause=FailureCause.PERMISSION_DENIED,
            hint="Check the keys in the Secret that S3_SECRET_NAME names.",
        )
    sql = kind in {"AnalysisException", "ParseException", "ArithmeticException"}
    cause = FailureCause.SQL_ERROR if sql else FailureCause.INTERNAL
    return EngineFailed(_cleaned(message), cause=cause)


def _names(message: str) -> list[str]:
    """Returns the parts of the first name, for example `iceberg`.`silver`.`t`."""
    match = re.search(r"`[^`]+`(\.`[^`]+`)*", message)
    return NAME.findall(match[0]) if match else []


def _cleaned(message: str) -> str:
    text = TAIL.sub("", message).strip()
    return text[:LONGEST] or "Spark failed without giving a reason."
