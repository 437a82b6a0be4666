"""The reason why a job of Airbyte failed, from its attempts."""

from collections.abc import Mapping
from typing import Any

from app.errors import EngineFailed
from app.failure import FailureCause

_BY_TYPE: Mapping[str, FailureCause] = {
    "heartbeat_timeout": FailureCause.TIMEOUT,
    "destination_timeout": FailureCause.TIMEOUT,
    "manual_cancellation": FailureCause.CANCELLED,
    "transient_error": FailureCause.ENGINE_UNREACHABLE,
}
_BY_WORDS: tuple[tuple[FailureCause, tuple[str, ...]], ...] = (
    (FailureCause.OUT_OF_MEMORY, ("outofmemory", "out of memory", "oomkilled")),
    (FailureCause.IMAGE_PULL, ("imagepull", "errimage", "pull image")),
    (FailureCause.UNSCHEDULABLE, ("unschedulable", "insufficient cpu", "insufficient memory")),
    (
        FailureCause.PERMISSION_DENIED,
        ("permission denied", "access denied", "accessdenied", "forbidden", "unauthorized",
         "authentication failed", "invalid credentials", "401 ", "403 "),
    ),
    (FailureCause.TABLE_NOT_FOUND, ("does not exist", "no such table", "table not found")),
)  # fmt: skip
_HINTS: Mapping[str, str] = {
    "config_error": "Check the config of the source and of the destination.",
    "refresh_schema": "The source has changed: choose the ingestion's streams again.",
    "transient_error": "Start it again.",
}


def failure_of(job_id: int, info: Any) -> EngineFailed:
    """Returns the failure. `info` is None if this Airbyte does not report the reason."""
    failure = _first(info)
    if failure is None:
        return EngineFailed(
            f"Airbyte's job {job_id} failed; its public API does not say why.",
            hint=f"Airbyte has the log of job {job_id}.",
            retryable=True,
            airbyte_job_id=job_id,
        )
    kind = str(failure.get("failureType") or "")
    message = str(failure.get("externalMessage") or failure.get("internalMessage") or "no message")
    origin = failure.get("failureOrigin")
    return EngineFailed(
        f"Airbyte's job {job_id} failed{f' in the {origin}' if origin else ''}: {message}",
        cause=_cause(kind, f"{message} {failure.get('internalMessage') or ''}"),
        hint=_HINTS.get(kind, f"Airbyte has the log of job {job_id}."),
        retryable=bool(failure.get("retryable", kind != "config_error")),
        airbyte_job_id=job_id,
    )


def _cause(kind: str, text: str) -> FailureCause:
    lowered = text.lower()
    for cause, words in _BY_WORDS:
        if any(word in lowered for word in words):
            return cause
    return _BY_TYPE.get(kind, FailureCause.INTERNAL)


def _first(info: Any) -> Mapping[str, Any] | None:
    """Returns the first failure of the last attempt, which led to the others."""
    attempts = (info or {}).get("attempts") or ()
    for entry in reversed(attempts):
        summary = (entry.get("attempt") or {}).get("failureSummary") or {}
        failures = summary.get("failures") or ()
        if failures:
            first: Mapping[str, Any] = min(failures, key=lambda each: each.get("timestamp") or 0)
            return first
    return None
