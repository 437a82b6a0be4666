"""Translates Sail's errors into words for the author of the SQL."""

import re

from app.errors import AsgardError, EngineFailed, EngineUnreachable
from app.failure import FailureCause

TABLE = re.compile(r"TABLE_OR_VIEW_NOT_FOUND\] Table or view not found: (?P<name>[^\n]+)")
COLUMN = re.compile(r"attribute ObjectName\(\[(?P<parts>[^\]]*)\]\) is missing")
IDENTIFIER = re.compile(r'Identifier\("((?:[^"\\]|\\.)*)"\)')
SYNTAX = re.compile(r"found (?P<found>.+?) at (?P<start>\d+):\d+ expected")
STORE = re.compile(r"Generic S3 error|response error: status code|Server returned non-2xx")
FUNCTION = re.compile(r"unknown function: (?P<name>\S+)")
MEMORY = re.compile(r"resources exhausted|failed to allocate|memory limit", re.IGNORECASE)
UNREACHABLE = re.compile(
    r"error sending request|connection refused|connection reset|tcp connect error"
    r"|operation timed out|error trying to connect|dns error",
    re.IGNORECASE,
)
NOISE = re.compile(r"^(external error|invalid argument|Execution error|Arrow error): ", re.I)
LONGEST = 2000


def translated(kind: str, message: str) -> AsgardError:
    """Returns the error. `kind` is the name of PySpark's exception class."""
    if MEMORY.search(message):
        return EngineFailed(
            "Spark ran out of the memory that the job requested.",
            cause=FailureCause.OUT_OF_MEMORY,
            hint="Request more with executor_memory or executor_instances.",
        )
    if UNREACHABLE.search(message):
        return EngineUnreachable("Spark cannot reach the object store or the catalog.")
    if STORE.search(message):
        return EngineFailed(
            "The object store or the catalog refused a request from Spark; the log says which.",
            cause=FailureCause.INTERNAL,
        )
    if match := TABLE.search(message):
        return EngineFailed(
            f"There is no table or view {match['name'].removeprefix('default.')}.",
            cause=FailureCause.TABLE_NOT_FOUND,
        )
    if match := COLUMN.search(message):
        name = ".".join(IDENTIFIER.findall(match["parts"]))
        return EngineFailed(f"There is no column {name}.", cause=FailureCause.SQL_ERROR)
    if match := FUNCTION.search(message):
        return EngineFailed(
            f"This Spark engine has no function {match['name']}.", cause=FailureCause.SQL_ERROR
        )
    if match := SYNTAX.search(message):
        return EngineFailed(
            f"Spark cannot parse the SQL at {match['found']!r} (character {match['start']}).",
            cause=FailureCause.SQL_ERROR,
        )
    if kind == "SparkConnectGrpcException":
        return EngineFailed(
            "The Spark engine had an internal error. The run's log has the details.",
            cause=FailureCause.INTERNAL,
        )
    return EngineFailed(_cleaned(message), cause=FailureCause.SQL_ERROR)


def _cleaned(message: str) -> str:
    text = message.strip().split("\n\nJVM stacktrace", 1)[0]
    while (shorter := NOISE.sub("", text)) != text:
        text = shorter
    return text[:LONGEST] or "Spark failed without giving a reason."
