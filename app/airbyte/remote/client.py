"""Airbyte's public API over HTTP: pages, timeouts, and retries where repeating is safe."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import stamina

from app.airbyte.remote.auth import auth_of, identity_of
from app.airbyte.remote.errors import BASE_URL_HINT, Unanswered, json_of, lost, time_of
from app.airbyte.remote.sent_secrets import SentSecrets
from app.config import Settings
from app.errors import AsgardError, EngineFailed, EngineTimeout, EngineUnreachable, NotFound
from app.telemetry.calls import SILENT, Telemetry
from app.telemetry.outcomes import Outcome

Json = dict[str, Any]
Params = Mapping[str, str | int]
FindExisting = Callable[[], Awaitable[Json | None]]

CONNECT_TIMEOUT = 2.0
ATTEMPTS = 3
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds. A longer Retry-After is passed on to the client."""
SLOW = 6
"""How many times longer than others a request may take if Airbyte asks a source for its answer."""
PAGE = 100
"""The largest page that Airbyte returns."""


class AirbyteClient:
    """A client that raises only errors of the tree in `app/errors.py`, never `Unanswered`."""

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry = SILENT,
        sent_secrets: SentSecrets | None = None,
    ) -> None:
        self._telemetry = telemetry
        self.sent_secrets = sent_secrets or SentSecrets()
        base = str(settings.airbyte_base_url).rstrip("/")
        self.base_url = base
        self._shown_url = re.sub(r"//[^/?#]*@", "//", base)
        """The address for messages, without the password that some people put into it."""
        self.identity = identity_of(settings)
        self._config_url = base.replace("/api/public/v1", "/api/v1")
        self._seconds = settings.airbyte_timeout
        self.response_timeout = timedelta(seconds=self._seconds)
        """After this time no one waits for a response, and the request no longer has an effect."""
        self._http = httpx.AsyncClient(
            auth=auth_of(settings, f"{base}/applications/token"),
            timeout=httpx.Timeout(self._seconds, connect=min(CONNECT_TIMEOUT, self._seconds)),
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=16),
            headers={"Accept": "application/json", "User-Agent": "asgard"},
        )
        self._offset = timedelta(0)

    async def close(self) -> None:
        await self._http.aclose()

    async def probe(self) -> str:
        """Returns the address, the identity and the workspaces. Sends one request, without a retry,
        and raises the error that keeps Airbyte from working."""
        workspaces = await self.page("/workspaces", {"limit": 10}, attempts=1)
        names = ", ".join(str(workspace["name"]) for workspace in workspaces) or "none"
        return f"{self._shown_url} as {self.identity}, workspaces: {names}"

    def now(self) -> datetime:
        """Returns the time of Airbyte's clock, as its last response showed it."""
        return datetime.now(UTC) + self._offset

    async def get(
        self, path: str, params: Params | None = None, *, attempts: int = ATTEMPTS
    ) -> Any:
        return await self._repeated(
            "GET", path, params=params, seconds=self._seconds, attempts=attempts
        )

    async def get_slow(self, path: str, params: Params) -> Any:
        """Gets, without a retry, what Airbyte asks a source for. That may take minutes."""
        seconds = self._seconds * SLOW
        return await self._repeated("GET", path, params=params, seconds=seconds, attempts=1)

    async def pages(self, path: str, id_name: str, params: Params | None = None) -> list[Json]:
        """Returns every item of every page, by offset: the address in `next` may be one that only
        Airbyte's own cluster knows. An item that moves to another page meanwhile is listed once."""
        by_id: dict[Any, Json] = {}
        offset = 0
        while True:
            page = await self._page(
                path, {**(params or {}), "limit": PAGE, "offset": offset}, ATTEMPTS
            )
            items: list[Json] = page["data"]
            by_id |= {item[id_name]: item for item in items}
            offset += len(items)
            if not items or not page.get("next"):
                return list(by_id.values())

    async def page(self, path: str, params: Params, *, attempts: int = ATTEMPTS) -> list[Json]:
        items: list[Json] = (await self._page(path, params, attempts))["data"]
        return items

    async def patch(self, path: str, body: Json) -> Any:
        return await self._repeated("PATCH", path, body=body, seconds=self._seconds)

    async def delete(self, path: str) -> Any:
        """Raises `NotFound` if it did not exist, but not if our own first attempt deleted it."""
        try:
            return await self._once("DELETE", path, seconds=self._seconds)
        except Unanswered as unanswered:
            try:
                return await self._repeated("DELETE", path, seconds=self._seconds)
            except NotFound:
                if not unanswered.sent:
                    raise
                return None

    async def post(self, path: str, body: Json, find_existing: FindExisting) -> Json:
        """Creates something once. Without a response, looks first for what was created.

        After a timeout nothing is sent again, since Airbyte may still be creating it.
        """
        for attempt in range(ATTEMPTS):
            try:
                created: Json = await self._once("POST", path, body=body, seconds=self._seconds)
                return created
            except Unanswered as unanswered:
                if (
                    unanswered.sent
                    and (existing := await self._find_existing(find_existing, unanswered))
                    is not None
                ):
                    return existing
                pause = _retry_delay(unanswered)
                if attempt == ATTEMPTS - 1 or not pause:
                    raise _final_error(unanswered) from None
            await asyncio.sleep(FIRST_PAUSE * 2**attempt if pause is True else pause)
        raise AssertionError("unreachable")

    async def explain(self, job_id: int) -> Any:
        """Returns a job with its attempts, from the configuration API that self-managed Airbytes
        have beside the public one. Only that API says why a job failed."""
        try:
            return await self._once(
                "POST", f"{self._config_url}/jobs/get", body={"id": job_id}, seconds=self._seconds
            )
        except (Unanswered, AsgardError):
            return None

    async def _find_existing(
        self, find_existing: FindExisting, unanswered: Unanswered
    ) -> Json | None:
        try:
            return await find_existing()
        except (EngineUnreachable, EngineTimeout, EngineFailed):
            raise _final_error(unanswered) from None

    async def _repeated(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Json | None = None,
        seconds: float,
        attempts: int = ATTEMPTS,
    ) -> Any:
        try:
            async for attempt in stamina.retry_context(
                on=_retry_delay,
                attempts=attempts,
                timeout=None,
                wait_initial=FIRST_PAUSE,
                wait_max=LONGEST_PAUSE,
                wait_jitter=FIRST_PAUSE,
            ):
                with attempt:
                    return await self._once(method, path, params=params, body=body, seconds=seconds)
        except Unanswered as unanswered:
            raise unanswered.error from None
        raise AssertionError("unreachable")

    async def _once(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Json | None = None,
        seconds: float,
    ) -> Any:
        url = path if path.startswith("http") else self.base_url + path
        timeout = httpx.Timeout(seconds, connect=min(CONNECT_TIMEOUT, seconds))
        resource = "jobs" if path.startswith("http") else path.split("/")[1].partition("?")[0]
        with self._telemetry.call("airbyte", f"{method} {resource}") as call:
            try:
                response = await self._http.request(
                    method, url, params=params, json=body, timeout=timeout
                )
            except httpx.TransportError as error:
                timed_out = isinstance(error, httpx.TimeoutException)
                call.outcome = Outcome.TIMEOUT if timed_out else Outcome.UNREACHABLE
                raise lost(error, self._shown_url, seconds) from None
            except httpx.InvalidURL as error:
                raise EngineFailed(f"AIRBYTE_BASE_URL is not a valid address: {error}") from None
            call.outcome = Outcome.of_status(response.status_code)
        self._set_clock(response)
        if response.is_success:
            return json_of(response)
        with self.sent_secrets.hidden():
            return json_of(response)

    def _set_clock(self, response: httpx.Response) -> None:
        if (at := time_of(response.headers.get("date", ""))) is not None:
            self._offset = at - datetime.now(UTC)

    async def _page(self, path: str, params: Params, attempts: int) -> Json:
        """Returns a list. A server without one is not Airbyte, or the path is wrong."""
        try:
            page: Json = await self.get(path, params, attempts=attempts)
        except NotFound as error:
            raise EngineFailed(error.detail, hint=BASE_URL_HINT) from None
        items = page.get("data") if isinstance(page, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise EngineFailed(f"Airbyte's response to {path} is not a list.", hint=BASE_URL_HINT)
        return page


def _retry_delay(error: Exception) -> bool | float:
    """Returns whether to repeat, or the seconds that Airbyte says to wait first. The client
    decides about a long wait."""
    if not isinstance(error, Unanswered):
        return False
    if error.wait is not None:
        return error.wait if error.wait <= LONGEST_PAUSE else False
    # A server that was silent for so long is not asked again.
    return not isinstance(error.error, EngineTimeout)


def _final_error(unanswered: Unanswered) -> AsgardError:
    if unanswered.sent:
        unanswered.error.hint = (
            "It is not known whether it was created. Repeat the request with the same "
            "Idempotency-Key: Asgard then looks for it first."
        )
    return unanswered.error
