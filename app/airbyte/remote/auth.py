"""The gateway's authentication with Airbyte: client credentials, basic auth, or nothing."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable

import httpx

from app.airbyte.remote.errors import UNEXPECTED, Unanswered, json_of, not_understood
from app.config import Settings
from app.redaction import register_transient_secrets

MARGIN = 0.2
"""The unused fraction of a token's lifetime: requests take time, and clocks differ."""
DEFAULT_LIFETIME = 180.0
"""Seconds that a token is valid if Airbyte does not say."""
TOKEN = re.compile(r"[\x21-\x7e]+")


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
    return "an anonymous caller (no credentials are set)"


class ClientCredentials(httpx.Auth):
    """Requests a token when there is none, before it expires, and once more after a 401."""

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
        self._renewal = asyncio.Lock()
        self._token = ""
        self._valid_until = 0.0

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        async with self._renewal:
            if self._clock() >= self._valid_until:
                await self._store_token((yield self._token_request(request)))
        sent_token = self._set_header(request)
        response = yield request
        if response.status_code != 401:
            return
        async with self._renewal:
            if sent_token == self._token:
                await self._store_token((yield self._token_request(request)))
        self._set_header(request)
        yield request

    def _token_request(self, request: httpx.Request) -> httpx.Request:
        token_request = httpx.Request("POST", self._url, json=self._body)
        token_request.extensions = request.extensions
        return token_request

    async def _store_token(self, response: httpx.Response) -> None:
        await response.aread()
        try:
            grant = json_of(response)
        except Unanswered as unanswered:
            # Only a token has been requested from Airbyte yet.
            raise unanswered.error from None
        try:
            token = grant["access_token"]
            lifetime = float(grant.get("expires_in") or DEFAULT_LIFETIME)
            if not TOKEN.fullmatch(token):
                raise ValueError("not a token")
        except UNEXPECTED as error:
            raise not_understood(error) from None
        self._token = token
        register_transient_secrets([token])
        self._valid_until = self._clock() + lifetime * (1 - MARGIN)

    def _set_header(self, request: httpx.Request) -> str:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return self._token
