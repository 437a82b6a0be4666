"""Translates the errors of the Kubernetes API server."""

import json
from dataclasses import dataclass
from typing import Any

from app.errors import AsgardError, Conflict, EngineFailed, EngineUnreachable, NotFound
from app.failure import FailureCause

LONGEST = 1000


class WatchExpired(Exception):
    """The server has forgotten the changes since that version (410). List again."""


@dataclass(frozen=True)
class KubernetesCall:
    verb: str
    resource: str
    group: str = ""

    @property
    def what(self) -> str:
        return f"{self.verb} {self.resource}" + (f".{self.group}" if self.group else "")


def translated(error: Exception, call: KubernetesCall, namespace: str) -> Exception:
    """Returns the translation of an `ApiException`, or of an error of the connection."""
    status = getattr(error, "status", None)
    if not isinstance(status, int) or status == 0:
        return EngineUnreachable(
            f"The Kubernetes API server cannot be reached: {_plain(error)}",
            dependency="kubernetes",
        )
    message = _message(error)
    match status:
        case 401:
            return EngineFailed(
                "The Kubernetes API server does not know Asgard: its token is missing or expired.",
                cause=FailureCause.PERMISSION_DENIED,
                hint="Check the ServiceAccount of Asgard, or the user in KUBECONFIG.",
            )
        case 403:
            return _forbidden(message, call, namespace)
        case 404:
            return _not_found(message, call, namespace)
        case 409:
            return Conflict(message)
        case 410:
            return WatchExpired(message)
        case 429:
            return EngineUnreachable("The Kubernetes API server is busy (429).", retry_after=5)
        case _ if status >= 500:
            return EngineUnreachable(f"The Kubernetes API server failed: {message}")
        case _:
            return EngineFailed(f"Kubernetes refused to {call.what}: {message}")


def _forbidden(message: str, call: KubernetesCall, namespace: str) -> AsgardError:
    if "exceeded quota" in message:
        return EngineFailed(
            f"The quota of the namespace {namespace} is used up: {message}",
            cause=FailureCause.UNSCHEDULABLE,
            hint="Wait for other jobs to end, request less, or raise the ResourceQuota.",
            retryable=True,
        )
    return EngineFailed(
        f"Kubernetes does not let Asgard {call.what} in the namespace {namespace}: {message}",
        cause=FailureCause.PERMISSION_DENIED,
        hint=f"Its Role in {namespace} lacks the verb {call.verb} for {call.resource}.",
        verb=call.verb,
        resource=call.resource,
    )


def _not_found(message: str, call: KubernetesCall, namespace: str) -> AsgardError:
    if call.verb not in {"create", "list", "watch"}:
        return NotFound(message)
    if f'namespaces "{namespace}" not found' in message:
        return EngineFailed(
            f"There is no namespace {namespace}.",
            hint="Create it, or name another one in SPARK_NAMESPACE.",
        )
    return EngineFailed(
        f"The cluster does not have {call.resource}.{call.group}: {message}",
        hint="Install the Spark operator with its CRDs (v1beta2).",
    )


def _message(error: Any) -> str:
    """Returns the message of the server's `Status`, or the answer of a proxy in front of it."""
    body = error.body or ""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    try:
        status = json.loads(text)
        return str(status["message"])[:LONGEST]
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}: {text.strip()[:200]}"


def _plain(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason).rpartition(">: ")[2][:300]
