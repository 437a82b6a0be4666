"""Admits authenticated callers. Every path except the open ones requires one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from starlette.datastructures import Headers
from starlette.types import Scope

from app.caller import ANONYMOUS, Caller, identity_of
from app.edge.rate_limit import RateLimit
from app.errors import EngineUnreachable, TooManyRequests, Unauthorized

if TYPE_CHECKING:
    from app.context import ProcessContext

PROBES = frozenset({"/health", "/health/ready"})
DOCS = frozenset({"/", "/docs", "/redoc", "/openapi.json", "/problems"})
FILES = "/static/"
UNKNOWN = Caller("unknown")


@dataclass(frozen=True)
class Gatekeeper:
    docs_are_public: bool
    rate: RateLimit
    failures: RateLimit
    """Limits requests without a valid key, by address, so that guessing keys is also slow."""

    def is_open(self, path: str) -> bool:
        return path in PROBES or (self.docs_are_public and (path in DOCS or path.startswith(FILES)))

    async def admit(self, scope: Scope, headers: Headers, address: str) -> Caller:
        """Return the caller. Raise `Unauthorized`, `TooManyRequests` or `EngineUnreachable`."""
        context = cast("ProcessContext | None", getattr(scope["app"].state, "context", None))
        if context is None:
            raise EngineUnreachable("This gateway is still starting. Try again.", retry_after=2)
        try:
            return await context.authenticator.caller(headers)
        except Unauthorized:
            self.require_rate(self.failures, address)
            raise

    def require_rate(self, limit: RateLimit, identity: str) -> None:
        if (seconds := limit.take(identity)) is not None:
            raise TooManyRequests(
                "The caller has exceeded its limit of requests per minute (RATE_LIMIT).",
                hint=f"Try again in {seconds} s.",
                retry_after=seconds,
            )


def share_of(caller: Caller, address: str) -> str:
    """Return whose limits a request counts against: the caller's, under any of its keys, or the
    address's if callers have no names."""
    return address if caller == ANONYMOUS else identity_of(caller.subject)


def challenge(headers: Headers) -> dict[str, str]:
    """Return the challenge of RFC 6750, which names an error only if a credential was sent."""
    has_credential = "authorization" in headers or "x-api-key" in headers
    error = ', error="invalid_token"' if has_credential else ""
    return {"WWW-Authenticate": f'Bearer realm="asgard"{error}'}
