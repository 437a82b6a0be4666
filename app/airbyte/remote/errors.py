"""What Airbyte's answers mean: each in the error tree, with Airbyte's own words."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from app.errors import (
    AsgardError,
    Conflict,
    EngineFailed,
    EngineTimeout,
    EngineUnreachable,
    InvalidRequest,
    NotFound,
)
from app.failure import FailureCause
from app.redaction import clean

BASE_URL_HINT = "Check AIRBYTE_BASE_URL: it ends in /api/public/v1."
LOGIN_HINT = (
    "Check AIRBYTE_CLIENT_ID and AIRBYTE_CLIENT_SECRET, or AIRBYTE_USERNAME and AIRBYTE_PASSWORD."
)
ACCESS_HINT = "Give these credentials access to the workspace in Airbyte."
RETRY_AFTER = 5
LONGEST_TEXT = 1000


class Unanswered(Exception):
    """A request has no answer to go by. `error` is what the client is told in the end.

    `sent`: it may have been carried out all the same. `wait`: seconds that Airbyte asks for.
    """

    def __init__(self, error: AsgardError, *, sent: bool = True, wait: float | None = None) -> None:
        super().__init__(error.detail)
        self.error = error
        self.sent = sent
        self.wait = wait


class Forbidden(EngineFailed):
    """Also Airbyte's answer to an id that it does not know, for all but its instance's admins."""


def json_of(response: httpx.Response) -> Any:
    """The body of a good answer. Raises what another one means."""
    if response.status_code >= 300:
        raise refusal(response)
    if response.status_code == 204 or not response.content:
        return None
    if "json" not in response.headers.get("content-type", ""):
        raise _no_airbyte(response)
    try:
        return response.json()
    except ValueError:
        raise Unanswered(
            EngineUnreachable("Airbyte's answer is no JSON: it was cut off.")
        ) from None


def refusal(response: httpx.Response) -> Exception:
    status, text = response.status_code, said(response)
    detail = f"Airbyte answers {status}: {text}"
    match status:
        case 401:
            return EngineFailed(detail, cause=FailureCause.PERMISSION_DENIED, hint=LOGIN_HINT)
        case 403:
            return Forbidden(detail, cause=FailureCause.PERMISSION_DENIED, hint=ACCESS_HINT)
        case 404 if not _is_json(response):
            return _no_airbyte(response)
        case 404:
            return NotFound(detail)
        case 409:
            return Conflict(detail)
        case 504:
            return Unanswered(EngineTimeout(detail))
        case 429 | 502 | 503:
            wait = retry_after(response)
            error = EngineUnreachable(detail, retry_after=wait or RETRY_AFTER)
            return Unanswered(error, sent=status != 429, wait=wait)
        case _ if status >= 500:
            return Unanswered(EngineFailed(detail, retryable=True))
        case _ if status >= 400:
            return InvalidRequest(detail)
        case _:
            return _no_airbyte(response)


def lost(error: httpx.TransportError, base_url: str, seconds: float) -> Unanswered:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
        away = EngineUnreachable(
            f"Airbyte cannot be reached at {base_url}: {error or 'it does not accept'}",
            hint="Check AIRBYTE_BASE_URL, and that Airbyte is up.",
        )
        return Unanswered(away, sent=False)
    if isinstance(error, httpx.TimeoutException):
        late = EngineTimeout(
            f"Airbyte did not answer within {seconds:g} s (AIRBYTE_TIMEOUT).",
            hint="Ask again; if Airbyte is just slow, raise AIRBYTE_TIMEOUT.",
        )
        return Unanswered(late, sent=not isinstance(error, httpx.PoolTimeout))
    cut = EngineUnreachable(f"Airbyte's answer was cut off: {error or type(error).__name__}")
    return Unanswered(cut)


def said(response: httpx.Response) -> str:
    """Airbyte's own reason, from any of the forms that its versions have.

    The reason is in `data.message`: there, `detail` is the same text for every problem of a type.
    """
    try:
        found = response.json()
    except ValueError:
        found = None
    if isinstance(found, dict):
        inner = found.get("data")
        more = inner.get("message") if isinstance(inner, dict) else None
        text = more or found.get("detail") or found.get("message") or found.get("title")
        if text:
            return clean(str(text))[:LONGEST_TEXT]
    return response.reason_phrase or "no message"


def retry_after(response: httpx.Response) -> int | None:
    """Seconds, whichever of its two forms the header has."""
    value = response.headers.get("retry-after", "")
    if value.isdigit():
        return max(1, int(value))
    try:
        wait = parsedate_to_datetime(value) - datetime.now(UTC)
    except (TypeError, ValueError):
        return None
    return max(1, int(wait.total_seconds()))


def _no_airbyte(response: httpx.Response) -> EngineFailed:
    kind = response.headers.get("content-type", "nothing").split(";")[0]
    return EngineFailed(
        f"What answers at {response.url.copy_with(query=None, userinfo=b'')} is not Airbyte's API: "
        f"{response.status_code}, {kind}.",
        hint=BASE_URL_HINT,
    )


def _is_json(response: httpx.Response) -> bool:
    return "json" in response.headers.get("content-type", "")
