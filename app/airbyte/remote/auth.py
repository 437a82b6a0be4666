"""How the gateway shows Airbyte who it is: client credentials, basic auth, or nothing."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

import httpx

from app.airbyte.remote.errors import Unanswered, json_of
from app.config import Settings
from app.redaction import register_transient_secrets

MARGIN = 0.2
"""The part of a token's life that is not used: a request takes a while, and clocks differ."""
DEFAULT_LIFE = 180.0
"""Seconds a token lives where Airbyte does not say."""


def auth_of(settings: Settings, token_url: str) -> httpx.Auth | None:
    if settings.airbyte_client_id and settings.airbyte_client_secret:
        secret = settings.airbyte_client_secret.get_secret_value()
        return ClientCredentials(token_url, settings.airbyte_client_id, secret)
    if settings.airbyte_username:
        password = settings.airbyte_password
        return httpx.BasicAuth(
            settings.airbyte_username, password.get_secret_value() if password else ""
        )
    return None


def identity_of(settings: Settings) -> str:
    if settings.airbyte_client_id and settings.airbyte_client_secret:
        return f"the application {settings.airbyte_client_id}"
    if settings.airbyte_username:
        return f"the user {settings.airbyte_username}"
    return "nobody (no credentials are set)"


class ClientCredentials(httpx.Auth):
    """Asks for a token when there is none, before it expires, and once more after a 401."""

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = token_url
        self._body = {
            "client_id": client_id,
            "client_secret": client_secret,
            "grant_type": "client_credentials",
        }
        self._clock = clock
        self._asking = asyncio.Lock()
        self._token = ""
        self._good_until = 0.0

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        async with self._asking:
            if self._clock() >= self._good_until:
                await self._take((yield self._ask(request)))
        used = self._show(request)
        response = yield request
        if response.status_code != 401:
            return
        async with self._asking:
            if used == self._token:
                await self._take((yield self._ask(request)))
        self._show(request)
        yield request

    def _ask(self, request: httpx.Request) -> httpx.Request:
        asking = httpx.Request("POST", self._url, json=self._body)
        asking.extensions = request.extensions
        return asking

    async def _take(self, response: httpx.Response) -> None:
        await response.aread()
        try:
            found = json_of(response)
        except Unanswered as unanswered:
            # Nothing was asked of Airbyte yet but a token.
            raise unanswered.error from None
        self._token = str(found["access_token"])
        register_transient_secrets([self._token])
        life = float(found.get("expires_in") or DEFAULT_LIFE)
        self._good_until = self._clock() + life * (1 - MARGIN)

    def _show(self, request: httpx.Request) -> str:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return self._token
