"""Who is calling, by the headers of a request. The mode is chosen once, in `context.py`."""

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
        """Raises `Unauthorized`."""


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
                "The key is not known, was revoked, or has expired.",
                hint="`asgard keys list` shows the keys, `asgard keys create` makes one.",
            )
        return caller


class ByToken:
    def __init__(self, judge: TokenVerifier) -> None:
        self._judge = judge

    async def caller(self, headers: Headers) -> Caller:
        try:
            return await self._judge.caller(_credential(headers))
        except TokenRefused as error:
            raise Unauthorized(
                f"The token was refused: {str(error).rstrip('.')}.",
                hint="Ask the issuer for a new one.",
            ) from None


def _credential(headers: Headers) -> str:
    given = headers.get("authorization")
    if given is None:
        if key := headers.get("x-api-key"):
            return key.strip()
        raise Unauthorized("This needs a key or a token.", hint=HOW)
    if found := BEARER.match(given):
        if headers.get("x-api-key", found[1]).strip() != found[1]:
            raise MalformedRequest(
                "The headers Authorization and X-API-Key differ; expected one credential.",
                hint="Send one of them.",
            )
        return found[1]
    raise Unauthorized("The Authorization header is not that of a bearer.", hint=HOW)
