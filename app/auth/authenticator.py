"""Authenticates callers by request headers. The mode is chosen once, in `app/context/access.py`."""

import re
from typing import Protocol

from starlette.datastructures import Headers

from app.auth.key_ring import KeyRing
from app.auth.oidc import TokenRefused, TokenVerifier
from app.caller import ADMIN, ANONYMOUS, Caller
from app.errors import MalformedRequest, Unauthorized

BEARER = re.compile(r"^bearer +([^ ]+) *$", re.IGNORECASE)
HOW = "Send Authorization: Bearer KEY, or X-API-Key: KEY."


class Authenticator(Protocol):
    async def caller(self, headers: Headers) -> Caller:
        """Return the caller. Raise `Unauthorized`."""


class Anybody:
    async def caller(self, headers: Headers) -> Caller:  # noqa: ARG002 — the port's
        return Caller(ANONYMOUS.subject, frozenset({ADMIN}))


class ByKey:
    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    async def caller(self, headers: Headers) -> Caller:
        caller = self._keys.caller(_credential(headers))
        if caller is None:
            raise Unauthorized(
                "The key is unknown, revoked or expired.",
                hint="`asgard keys list` shows the keys, and `asgard keys create` creates one.",
            )
        return caller


class ByToken:
    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def caller(self, headers: Headers) -> Caller:
        try:
            return await self._verifier.caller(_credential(headers))
        except TokenRefused as error:
            raise Unauthorized(
                f"The token was refused: {str(error).rstrip('.')}.",
                hint="Ask the issuer for a new one.",
            ) from None


def _credential(headers: Headers) -> str:
    authorization = headers.get("authorization")
    if authorization is None:
        if key := headers.get("x-api-key"):
            return key.strip()
        raise Unauthorized("This request needs a key or a token.", hint=HOW)
    if match := BEARER.match(authorization):
        if headers.get("x-api-key", match[1]).strip() != match[1]:
            raise MalformedRequest(
                "The headers Authorization and X-API-Key differ; expected one credential.",
                hint="Send one of them.",
            )
        return match[1]
    raise Unauthorized("The Authorization header is not a bearer credential.", hint=HOW)
