"""Translates Airbyte's responses into the error tree, with Airbyte's own words."""

import json
import re
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar

import httpx
import structlog

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
from app.shorten import storable

P = ParamSpec("P")
T = TypeVar("T")
log = structlog.get_logger()

BASE_URL_HINT = "Check AIRBYTE_BASE_URL: it must end in /api/public/v1."
LOGIN_HINT = (
    "Check AIRBYTE_CLIENT_ID and AIRBYTE_CLIENT_SECRET, or AIRBYTE_USERNAME and AIRBYTE_PASSWORD."
)
ACCESS_HINT = "Give these credentials access to the workspace in Airbyte."
RETRY_AFTER = 5
LONGEST_TEXT = 1000
SECONDS = re.compile("[0-9]{1,9}")
UNEXPECTED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What reading a response of another form than Airbyte's raises."""


class Unanswered(Exception):
    """A request has no usable response. `error` is what the client gets in the end.

    `sent` means that it may still have been carried out. `wait` is the delay in seconds that
    Airbyte requests.
    """

    def __init__(self, error: AsgardError, *, sent: bool = True, wait: float | None = None) -> None:
        super().__init__(error.detail)
        self.error = error
        self.sent = sent
        self.wait = wait


class Forbidden(EngineFailed):
    """Airbyte also answers with this for an unknown id, except to admins of its instance."""


def json_of(response: httpx.Response) -> Any:
    """Returns the body of a successful response. Raises the error that any other one means."""
    if response.status_code >= 300:
        raise refusal(response)
    if response.status_code == 204 or not response.content:
        return None
    if "json" not in response.headers.get("content-type", ""):
        raise _not_airbyte(response)
    try:
        return _parsed(response)
    except ValueError:
        raise Unanswered(
            EngineUnreachable("Airbyte's response is not valid JSON: it was cut off.")
        ) from None
    except RecursionError as error:
        raise not_understood(error) from error


def refusal(response: httpx.Response) -> Exception:
    status, text = response.status_code, message_of(response)
    detail = f"Airbyte responded with {status}: {text}"
    match status:
        case 401:
            return EngineFailed(detail, cause=FailureCause.PERMISSION_DENIED, hint=LOGIN_HINT)
        case 403:
            return Forbidden(detail, cause=FailureCause.PERMISSION_DENIED, hint=ACCESS_HINT)
        case 404 if not _is_json(response):
            return _not_airbyte(response)
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
            return _not_airbyte(response)


def lost(error: httpx.TransportError, base_url: str, seconds: float) -> Unanswered:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
        unreachable = EngineUnreachable(
            f"Airbyte cannot be reached at {base_url}: {error or 'it does not accept connections'}",
            hint="Check AIRBYTE_BASE_URL, and that Airbyte is running.",
        )
        return Unanswered(unreachable, sent=False)
    if isinstance(error, httpx.TimeoutException):
        timed_out = EngineTimeout(
            f"Airbyte did not respond within {seconds:g} s (AIRBYTE_TIMEOUT).",
            hint="Retry. If Airbyte is just slow, raise AIRBYTE_TIMEOUT.",
        )
        return Unanswered(timed_out, sent=not isinstance(error, httpx.PoolTimeout))
    # The text of a protocol error can quote the body of another response.
    is_quoted = isinstance(error, httpx.RemoteProtocolError)
    why = type(error).__name__ if is_quoted else error or type(error).__name__
    return Unanswered(EngineUnreachable(f"Airbyte's response was cut off: {why}"))


def message_of(response: httpx.Response) -> str:
    """Returns Airbyte's own reason, from any of the forms that its versions have.

    `data.message` comes first: where it exists, `detail` is the same for every problem of a type.
    """
    try:
        body = _parsed(response)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict):
        inner = body.get("data")
        more = inner.get("message") if isinstance(inner, dict) else None
        text = more or body.get("detail") or body.get("message") or body.get("title")
        if text:
            return clean(str(text))[:LONGEST_TEXT]
    return response.reason_phrase or "no message"


def retry_after(response: httpx.Response) -> int | None:
    """Returns the seconds, from either of the header's two forms."""
    value = response.headers.get("retry-after", "")
    if SECONDS.fullmatch(value):
        return max(1, int(value))
    at = time_of(value)
    return None if at is None else max(1, int((at - datetime.now(UTC)).total_seconds()))


def time_of(header: str) -> datetime | None:
    """Returns the time in a header, or None if it is not valid."""
    try:
        at = parsedate_to_datetime(header)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def not_understood(error: Exception) -> EngineFailed:
    log.warning("airbyte_not_understood", exc_info=error)
    return EngineFailed(
        f"Airbyte's response does not have the form of its API ({type(error).__name__}).",
        hint="Asgard's log has the cause. Check that this version of Airbyte is supported.",
    )


def blames_airbyte(engine: type[T]) -> type[T]:
    """Let every public coroutine of the class raise `EngineFailed` for JSON of a form that
    Airbyte's API does not have."""
    for name, method in list(vars(engine).items()):
        if not name.startswith("_") and iscoroutinefunction(method):
            setattr(engine, name, _blaming(method))
    return engine


def _blaming(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    @wraps(method)
    async def blaming(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except UNEXPECTED as error:
            raise not_understood(error) from error

    return blaming


def _parsed(response: httpx.Response) -> Any:
    """Returns the body's JSON, without lone surrogates: no record or response can have them."""
    value = response.json()
    if "\\ud" not in response.text.lower() and "\ufffd" not in response.text:
        return value
    return json.loads(storable(json.dumps(value, ensure_ascii=False)))


def _not_airbyte(response: httpx.Response) -> EngineFailed:
    kind = response.headers.get("content-type", "nothing").split(";")[0]
    return EngineFailed(
        f"The server at {response.url.copy_with(query=None, userinfo=b'')} is not Airbyte's "
        f"API: {response.status_code}, {kind}.",
        hint=BASE_URL_HINT,
    )


def _is_json(response: httpx.Response) -> bool:
    return "json" in response.headers.get("content-type", "")
