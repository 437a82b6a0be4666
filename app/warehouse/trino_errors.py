"""What Trino and its client raise, as the errors of our tree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.errors import (
    AsgardError,
    EngineFailed,
    EngineUnreachable,
    SqlInvalid,
    TableNotFound,
)
from app.runs.failure import FailureCause

if TYPE_CHECKING:
    from trino.exceptions import TrinoQueryError

CONFLICTS = ("ICEBERG_COMMIT_ERROR", "TRANSACTION_CONFLICT")
CONFLICT_SIGNS = (
    "is not an ancestor of",
    "Found conflicting files",
    'org.apache.iceberg.Table.snapshot(long)" is null',
)
"""Conflicts that Trino has no name for: on Nessie the snapshot that it reads may be hidden by then.
"""
_AWAY = (
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
_LACKS = "A schema that Asgard makes at its start is not in Trino's catalog."


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
                "What answers at TRINO_HOST and TRINO_PORT is not Trino: its answer cannot be "
                f"read ({type(error).__name__}).",
                hint="Check TRINO_HOST, TRINO_PORT and what stands between.",
            )
    return EngineFailed(f"Trino's client failed: {type(error).__name__}: {error}")


def is_conflict(error: BaseException) -> bool:
    """Another writer's commit came first: the statement changed nothing and may be repeated."""
    return isinstance(error, EngineFailed) and bool(error.members.get("conflict"))


def _query_error(error: TrinoQueryError) -> AsgardError:
    name, text = error.error_name or "", _readable(error.message)
    if name in ("TABLE_NOT_FOUND", "VIEW_NOT_FOUND"):
        missing = re.search(r"'([^']+)'", text)
        table = ".".join(missing[1].split(".")[-2:]) if missing else "?"
        return TableNotFound(f"There is no table {table}.", missing=[table])
    if name == "SCHEMA_NOT_FOUND":
        return EngineFailed(
            f"{text}. {_LACKS}",
            cause=FailureCause.TABLE_NOT_FOUND,
            hint="Trino's catalog must be the one of NESSIE_URI or ICEBERG_REST_URI, on the same "
            "branch; ./script/create-schemas.sh makes the schemas through Trino.",
        )
    if name == "CATALOG_NOT_FOUND" or ("Catalog '" in text and "not found" in text):
        return EngineFailed(
            text,
            cause=FailureCause.TABLE_NOT_FOUND,
            hint="TRINO_CATALOG names an Iceberg catalog of that Trino: see SHOW CATALOGS.",
        )
    if name == "PERMISSION_DENIED":
        return EngineFailed(
            text,
            cause=FailureCause.PERMISSION_DENIED,
            hint="Trino's access control refuses this to TRINO_USER.",
        )
    if name in CONFLICTS or any(sign in text for sign in CONFLICT_SIGNS):
        return EngineFailed(
            f"Another writer changed the table meanwhile: {text}", retryable=True, conflict=True
        )
    if name in _AWAY:
        return EngineUnreachable(f"Trino is not able to work now: {text}", dependency="trino")
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
    if error.error_type == "INSUFFICIENT_RESOURCES":
        if any(sign in name for sign in _MEMORY):
            return EngineFailed(
                "The query needs more memory than Trino gives it.",
                cause=FailureCause.OUT_OF_MEMORY,
                hint="Read fewer rows or columns, or aggregate in steps.",
            )
        late = "TIME" in name
        cause = FailureCause.TIMEOUT if late else FailureCause.INTERNAL
        return EngineFailed(text, cause=cause, retryable=True)
    if error.error_type == "USER_ERROR":
        if error.error_location:
            return SqlInvalid(text)
        if name == "NOT_SUPPORTED":
            return SqlInvalid(text, hint="Cast the column in the SQL, for example to varchar.")
        return EngineFailed(text, cause=FailureCause.SQL_ERROR)
    return EngineFailed(f"Trino failed inside: {text}", cause=FailureCause.INTERNAL)


def _http_error(text: str) -> AsgardError:
    status = re.search(r"error (\d+)", text)
    match int(status[1]) if status else 0:
        case 401 | 403 as code:
            return EngineFailed(
                f"Trino refused its user (HTTP {code}).",
                cause=FailureCause.PERMISSION_DENIED,
                hint="Check TRINO_USER and TRINO_PASSWORD or TRINO_JWT_TOKEN.",
            )
        case 429:
            return EngineUnreachable("Trino takes no more queries now.", dependency="trino")
        case code if code >= 500:
            return EngineUnreachable(f"Trino answered with HTTP {code}.", dependency="trino")
        case code:
            return EngineFailed(
                f"What answers at TRINO_HOST and TRINO_PORT is not Trino: HTTP {code}.",
                hint="Check TRINO_HOST, TRINO_PORT and TRINO_HTTP_SCHEME.",
            )


def _unreachable(text: str) -> AsgardError:
    if "SSL" in text or "CERTIFICATE" in text.upper():
        return EngineUnreachable(
            "No TLS connection to Trino comes about: "
            f"{_readable(text)}. Check TRINO_HTTP_SCHEME and TRINO_VERIFY.",
            dependency="trino",
        )
    if "NameResolution" in text or "getaddrinfo" in text:
        return EngineUnreachable(
            "TRINO_HOST is a name that cannot be resolved.", dependency="trino"
        )
    return EngineUnreachable(f"Trino cannot be reached: {_readable(text)}", dependency="trino")


def _readable(text: str) -> str:
    return " ".join(text.split())[:1000]
