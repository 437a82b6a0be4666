"""Converts errors of Trino and its client to errors of our tree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.errors import (
    AsgardError,
    EngineFailed,
    EngineUnreachable,
    SqlInvalid,
    SqlTooLarge,
    TableNotFound,
)
from app.failure import FailureCause

if TYPE_CHECKING:
    from trino.exceptions import TrinoQueryError

CONFLICTS = ("ICEBERG_COMMIT_ERROR", "TRANSACTION_CONFLICT")
CONFLICT_SIGNS = (
    "is not an ancestor of",
    "Found conflicting files",
    'org.apache.iceberg.Table.snapshot(long)" is null',
)
"""Messages of conflicts without an error name: on Nessie, the snapshot that Trino reads may have
become hidden meanwhile."""
_UNAVAILABLE = (
    "SERVER_SHUTTING_DOWN",
    "SERVER_STARTING_UP",
    "NO_NODES_AVAILABLE",
    "ABANDONED_QUERY",
    "REMOTE_TASK_ERROR",
    "REMOTE_HOST_GONE",
    "PAGE_TRANSPORT_ERROR",
    "PAGE_TRANSPORT_TIMEOUT",
    "TOO_MANY_REQUESTS_FAILED",
)
_STORAGE = ("ICEBERG_CATALOG_ERROR", "ICEBERG_FILESYSTEM_ERROR", "ICEBERG_CANNOT_OPEN_SPLIT")
_MEMORY = ("MEMORY", "OUT_OF_MEMORY", "SPILL")
_TOO_LARGE = (
    "QUERY_TEXT_TOO_LARGE",
    "QUERY_HAS_TOO_MANY_STAGES",
    "QUERY_EXCEEDED_COMPILER_LIMIT",
    "STACK_OVERFLOW",
    "TOO_MANY_GROUPING_SETS",
)
_VIEW_ERRORS = ("VIEW_IS_STALE", "INVALID_VIEW", "VIEW_IS_RECURSIVE")
_EXISTS = ("ALREADY_EXISTS", "TABLE_ALREADY_EXISTS", "COLUMN_ALREADY_EXISTS")
_OPERATOR_ERRORS = (
    "INCOMPATIBLE_CLIENT",
    "INVALID_CATALOG_PROPERTY",
    "INVALID_COLUMN_MASK",
    "INVALID_ROW_FILTER",
    "INVALID_SCHEMA_PROPERTY",
    "INVALID_SESSION_PROPERTY",
    "INVALID_TABLE_PROPERTY",
    "QUERY_REJECTED",
    "READ_ONLY_VIOLATION",
    "ROLE_NOT_FOUND",
    "TABLE_REDIRECTION_ERROR",
)
"""Trino blames its user for these errors, but no other SQL of the caller would avoid them. The user
is Asgard, with the statements, rights and settings that its operator gave it."""
_PLACE = re.compile(r"\Aline \d+:\d+: ")
"""A place in the statement that Trino received, which the caller has not seen."""
_SCHEMA_MISSING = "A schema that Asgard creates at startup is not in Trino's catalog."


def asgard_error(error: Exception) -> AsgardError:
    from trino import exceptions as trino

    match error:
        case AsgardError():
            return error
        case trino.TrinoQueryError():
            return _query_error(error)
        case trino.Http502Error() | trino.Http503Error() | trino.Http504Error():
            return EngineUnreachable(f"Trino cannot be reached: {error}", dependency="trino")
        case trino.HttpError():
            return _http_error(str(error))
        case trino.TrinoConnectionError():
            return _unreachable(str(error))
        case ValueError() | KeyError() | TypeError():
            return EngineFailed(
                "The server at TRINO_HOST and TRINO_PORT is not Trino: its response cannot be "
                f"read ({type(error).__name__}).",
                hint="Check TRINO_HOST, TRINO_PORT and any proxy in between.",
            )
    return EngineFailed(f"Trino's client failed: {type(error).__name__}: {error}")


def is_conflict(error: BaseException) -> bool:
    """Return whether another writer committed first. The statement changed nothing and may be
    repeated."""
    return isinstance(error, EngineFailed) and bool(error.members.get("conflict"))


def _query_error(error: TrinoQueryError) -> AsgardError:
    name, text = error.error_name or "", _readable(_PLACE.sub("", error.message))
    if name in ("TABLE_NOT_FOUND", "VIEW_NOT_FOUND"):
        missing = re.search(r"'([^']+)'", text)
        table = ".".join(missing[1].split(".")[-2:]) if missing else "?"
        return TableNotFound(f"There is no table {table}.", missing=[table])
    if name == "SCHEMA_NOT_FOUND":
        return EngineFailed(
            f"{text}. {_SCHEMA_MISSING}",
            cause=FailureCause.TABLE_NOT_FOUND,
            hint="Trino's catalog must be the one of NESSIE_URI or ICEBERG_REST_URI, on the same "
            "branch. ./script/create-schemas.sh creates the schemas through Trino.",
        )
    if name == "CATALOG_NOT_FOUND" or ("Catalog '" in text and "not found" in text):
        return EngineFailed(
            text,
            cause=FailureCause.TABLE_NOT_FOUND,
            hint="TRINO_CATALOG must name an Iceberg catalog of that Trino: see SHOW CATALOGS.",
        )
    if name == "PERMISSION_DENIED":
        return EngineFailed(
            text,
            cause=FailureCause.PERMISSION_DENIED,
            hint="Trino's access control does not allow TRINO_USER to do this.",
        )
    if name in CONFLICTS or any(sign in text for sign in CONFLICT_SIGNS):
        return EngineFailed(
            f"Another writer changed the table in the meantime: {text}",
            retryable=True,
            conflict=True,
        )
    if name in _UNAVAILABLE:
        return EngineUnreachable(f"Trino is currently unavailable: {text}", dependency="trino")
    if name in _STORAGE:
        return EngineFailed(
            f"Trino could not use the catalog or the object store: {text}",
            cause=FailureCause.ENGINE_UNREACHABLE,
            retryable=True,
        )
    if name in ("USER_CANCELED", "ADMINISTRATIVELY_KILLED", "ADMINISTRATIVELY_PREEMPTED"):
        return EngineFailed(
            f"The query was ended on Trino: {text}", cause=FailureCause.CANCELLED, retryable=True
        )
    return _by_type(error, name, text)


def _by_type(error: TrinoQueryError, name: str, text: str) -> AsgardError:
    if error.error_type == "USER_ERROR" and name != "EXCEEDED_FUNCTION_MEMORY_LIMIT":
        return _user_error(error, name, text)
    if error.error_type in ("INSUFFICIENT_RESOURCES", "USER_ERROR"):
        if any(sign in name for sign in _MEMORY):
            return EngineFailed(
                "The query needs more memory than Trino gives it.",
                cause=FailureCause.OUT_OF_MEMORY,
                hint="Read fewer rows or columns, or aggregate in steps.",
            )
        is_timeout = "TIME" in name
        cause = FailureCause.TIMEOUT if is_timeout else FailureCause.INTERNAL
        return EngineFailed(text, cause=cause, retryable=True)
    if error.error_type == "EXTERNAL":
        return EngineFailed(f"Something that Trino depends on failed: {text}")
    return EngineFailed(f"Trino failed internally: {text}", cause=FailureCause.INTERNAL)


def _user_error(error: TrinoQueryError, name: str, text: str) -> AsgardError:
    if name in _VIEW_ERRORS:
        return EngineFailed(
            text,
            cause=FailureCause.SQL_ERROR,
            hint="The SQL reads a view that is no longer valid. Run its transformation again, "
            "or create the view again.",
        )
    if name in _EXISTS:
        return EngineFailed(
            f"Another writer changed the lake in the meantime: {text}", retryable=True
        )
    if name in _OPERATOR_ERRORS:
        return EngineFailed(
            f"Trino refused the statement: {text}",
            hint="Check the settings and the access control of Trino.",
        )
    position = None
    if error.error_location:
        line, column = error.error_location
        position = {"line": line, "column": column}
    if name in _TOO_LARGE:
        return SqlTooLarge(text, position=position)
    hint = None
    if name == "NOT_SUPPORTED" and not position:
        hint = "Cast the column in the SQL, for example to varchar."
    return SqlInvalid(text, hint=hint, position=position)


def _http_error(text: str) -> AsgardError:
    status = re.search(r"error (\d+)", text)
    match int(status[1]) if status else 0:
        case 401 | 403 as code:
            return EngineFailed(
                f"Trino refused Asgard's user (HTTP {code}).",
                cause=FailureCause.PERMISSION_DENIED,
                hint="Check TRINO_USER and TRINO_PASSWORD or TRINO_JWT_TOKEN.",
            )
        case 429:
            return EngineUnreachable("Trino currently accepts no more queries.", dependency="trino")
        case code if code >= 500:
            return EngineUnreachable(f"Trino responded with HTTP {code}.", dependency="trino")
        case code:
            return EngineFailed(
                f"The server at TRINO_HOST and TRINO_PORT is not Trino: HTTP {code}.",
                hint="Check TRINO_HOST, TRINO_PORT and TRINO_HTTP_SCHEME.",
            )


def _unreachable(text: str) -> AsgardError:
    if "SSL" in text or "CERTIFICATE" in text.upper():
        return EngineUnreachable(
            "A TLS connection to Trino could not be established: "
            f"{_readable(text)}. Check TRINO_HTTP_SCHEME and TRINO_VERIFY.",
            dependency="trino",
        )
    if "NameResolution" in text or "getaddrinfo" in text:
        return EngineUnreachable("The name in TRINO_HOST cannot be resolved.", dependency="trino")
    return EngineUnreachable(f"Trino cannot be reached: {_readable(text)}", dependency="trino")


def _readable(text: str) -> str:
    return " ".join(text.split())[:1000]
