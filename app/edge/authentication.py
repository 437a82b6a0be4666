"""Who may come in: every path but those that are open needs a caller."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from starlette.datastructures import Headers
from starlette.types import Scope

from app.caller import Caller
from app.edge.rate_limit import RateLimit
from app.errors import EngineUnreachable, TooManyRequests, Unauthorized

if TYPE_CHECKING:
    from app.context import ProcessContext

PROBES = frozenset({"/health", "/health/ready"})
DOCS = frozenset({"/docs", "/redoc", "/openapi.json", "/problems"})
FILES = "/static/"
UNKNOWN = Caller("unknown")


@dataclass(frozen=True)
class Gatekeeper:
    docs_are_public: bool
    rate: RateLimit
    failures: RateLimit
    """Of those who show no valid key, by address: guessing is slow as well as hopeless."""

    def is_open(self, path: str) -> bool:
        return path in PROBES or (self.docs_are_public and (path in DOCS or path.startswith(FILES)))

    async def admit(self, scope: Scope, headers: Headers, address: str) -> Caller:
        """Raises `Unauthorized`, `TooManyRequests`, `EngineUnreachable`."""
        context = cast("ProcessContext | None", getattr(scope["app"].state, "context", None))
        if context is None:
            raise EngineUnreachable("This gateway is starting; ask again.", retry_after=2)
        try:
            return await context.authenticator.caller(headers)
        except Unauthorized:
            self.require_rate(self.failures, address)
            raise

    def require_rate(self, limit: RateLimit, who: str) -> None:
        if (seconds := limit.take(who)) is not None:
            raise TooManyRequests(
                "These are more requests than one caller may make in a minute (RATE_LIMIT).",
                hint=f"Ask again in {seconds} s.",
                retry_after=seconds,
            )


def challenge(headers: Headers) -> dict[str, str]:
    """RFC 6750: no error is named to those who showed nothing."""
    shown = "authorization" in headers or "x-api-key" in headers
    return {"WWW-Authenticate": 'Bearer realm="asgard"' + ', error="invalid_token"' * shown}
