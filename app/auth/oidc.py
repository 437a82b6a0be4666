"""Tokens of an OpenID issuer: found by discovery, checked by its published keys."""

import asyncio
import json
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import structlog

from app.caller import SCOPES, Caller, is_reserved
from app.errors import EngineUnreachable

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

KEYS_KEPT = 3600.0
"""Seconds after which the issuer's keys are asked for again, in case one was withdrawn."""
ASKED_EVERY = 10.0
"""Seconds between two questions to the issuer, however many unknown keys tokens name."""
TIMEOUT = httpx.Timeout(5, connect=3)
LONGEST_ANSWER = 1024 * 1024
LONGEST_TOKEN = 16 * 1024
LONGEST_SUBJECT = 255
log = structlog.get_logger()


class TokenRefused(Exception):
    """Says why, in words that hold nothing of the token."""


@dataclass(frozen=True)
class Issuer:
    url: str
    audience: str
    algorithms: Sequence[str]
    clock_skew: float
    roles_claim: str
    role_scopes: Mapping[str, Sequence[str]]

    def scopes_of(self, role: str) -> Collection[str]:
        """Without a map, a role grants the scope of its own name. With one, only the map counts:
        a role of the issuer may have that name by chance."""
        return self.role_scopes.get(role, ()) if self.role_scopes else SCOPES & {role}


class IssuerKeys:
    """The issuer's keys, kept. While it cannot be reached those that are known go on to count."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._client = httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False)
        self._lock = asyncio.Lock()
        self._keys: KeySet | None = None
        self._read_at = 0.0
        self._asked_at: float | None = None
        self._failure = "it was not asked yet"
        self._asking: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self._client.aclose()

    async def having(self, key_id: str | None) -> "KeySet":
        """Asks the issuer when it is not known. Raises `EngineUnreachable` without any keys."""
        if not self._has(key_id):
            async with self._lock:
                if not self._has(key_id) and self._may_ask():
                    await self._ask()
        elif self._is_old() and self._may_ask():
            # Nobody waits for it: the keys that are known go on to count meanwhile.
            self._asking = asyncio.create_task(self._ask())
        if self._keys is None:
            raise EngineUnreachable(
                f"The issuer of tokens cannot be asked for its keys: {self._failure}",
                dependency="oidc",
            )
        return self._keys

    def _has(self, key_id: str | None) -> bool:
        if self._keys is None:
            return False
        return key_id is None or any(key.kid == key_id for key in self._keys)

    def _is_old(self) -> bool:
        return time.monotonic() - self._read_at > KEYS_KEPT

    def _may_ask(self) -> bool:
        return self._asked_at is None or time.monotonic() - self._asked_at >= ASKED_EVERY

    async def _ask(self) -> None:
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        self._asked_at = time.monotonic()
        try:
            found = await self._get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self._issuer:
                raise ValueError("its discovery document is another issuer's (OIDC_ISSUER)")
            published = await self._get(found["jwks_uri"])
            signing = [key for key in published["keys"] if key.get("use", "sig") == "sig"]
            self._keys = KeySet.import_key_set({"keys": signing})
        except httpx.HTTPError as error:
            self._failed(str(error) or type(error).__name__)
        except (ValueError, KeyError, TypeError, AttributeError, JoseError) as error:
            self._failed(f"it answered what cannot be used: {error}")
        else:
            self._read_at = time.monotonic()

    def _failed(self, why: str) -> None:
        self._failure = why
        log.warning("issuer_not_asked", issuer=self._issuer, error=why)

    async def _get(self, url: str) -> dict[str, Any]:
        answer = await self._client.get(url)
        answer.raise_for_status()
        if len(answer.content) > LONGEST_ANSWER:
            raise ValueError("more than a megabyte")
        found = json.loads(answer.content)
        if not isinstance(found, dict):
            raise TypeError("no JSON object")
        return found


INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Characters that Python calls printable and that show nothing: Default_Ignorable_Code_Point in
Unicode's DerivedCoreProperties, and the empty Braille pattern."""


def subject_refusal(given: object) -> str | None:
    """Return why a `sub` cannot name a caller, or None if it can."""
    if not isinstance(given, str):
        return "is not a string"
    if not given.strip():
        return "is empty"
    if len(given) > LONGEST_SUBJECT:
        return f"is longer than {LONGEST_SUBJECT} characters"
    if not given.isprintable() or INVISIBLE.search(given):
        return "contains control or invisible characters"
    if given != given.strip():
        return "begins or ends with a space"
    if is_reserved(given):
        return "is a name that Asgard reserves"
    return None


class TokenVerifier:
    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._keys = IssuerKeys(issuer.url)

    async def close(self) -> None:
        await self._keys.close()

    async def caller(self, token: str) -> Caller:
        """Raises `TokenRefused`, or `EngineUnreachable` while there is nothing to judge it by."""
        claims = await self._claims(token)
        return Caller(self._subject(claims["sub"]), self._scopes(claims))

    def _subject(self, given: object) -> str:
        why = subject_refusal(given)
        if why is None:
            return str(given)
        log.warning(
            "token_subject_refused",
            issuer=self._issuer.url,
            subject=repr(given)[:LONGEST_SUBJECT],
            why=why,
        )
        raise TokenRefused(f"its sub {why}")

    async def _claims(self, token: str) -> dict[str, Any]:
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        if len(token) > LONGEST_TOKEN:
            raise TokenRefused("it is too long")
        keys = await self._keys.having(self._key_id(token))
        try:
            # The algorithms are ours to choose: `none` and HS256 are never among them.
            claims = jwt.decode(token, keys, algorithms=list(self._issuer.algorithms)).claims
            self._registry().validate(claims)
        except InvalidKeyIdError:
            raise TokenRefused("its kid names no key of the issuer") from None
        except JoseError as error:
            raise TokenRefused(error.description or error.error) from None
        except (ValueError, TypeError, KeyError, RecursionError):
            raise TokenRefused("it is no signed JWT") from None
        return claims

    def _key_id(self, token: str) -> str | None:
        """Also refuses at once what no key needs to be fetched for."""
        from joserfc.errors import JoseError
        from joserfc.jws import extract_compact

        try:
            header = extract_compact(token.encode()).headers()
        except (JoseError, ValueError, TypeError, RecursionError):
            raise TokenRefused("it is no signed JWT") from None
        if not isinstance(header, dict):
            raise TokenRefused("it is no signed JWT")
        if header.get("alg") not in self._issuer.algorithms:
            raise TokenRefused("its alg is not one of OIDC_ALGORITHMS")
        key_id = header.get("kid")
        if key_id is not None and not isinstance(key_id, str):
            raise TokenRefused("its kid is no text")
        return key_id

    def _registry(self) -> Any:
        from joserfc.jwt import JWTClaimsRegistry

        return JWTClaimsRegistry(
            now=lambda: int(time.time()),
            leeway=int(self._issuer.clock_skew),
            iss={"essential": True, "value": self._issuer.url},
            aud={"essential": True, "value": self._issuer.audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    def _scopes(self, claims: dict[str, Any]) -> frozenset[str]:
        found: Any = claims
        for part in self._issuer.roles_claim.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        roles = found.split() if isinstance(found, str) else found
        scopes: set[str] = set()
        for role in roles if isinstance(roles, list) else ():
            if isinstance(role, str):
                scopes.update(self._issuer.scopes_of(role))
        return frozenset(scopes)
