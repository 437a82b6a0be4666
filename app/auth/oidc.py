"""Verifies tokens of an OpenID issuer with its published keys, which it finds by discovery."""

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

KEYS_MAX_AGE = 3600.0
"""The seconds after which the issuer's keys are requested again, in case one was withdrawn."""
REQUEST_INTERVAL = 10.0
"""The seconds between two requests to the issuer, however many unknown keys tokens name."""
TIMEOUT = httpx.Timeout(5, connect=3)
LONGEST_ANSWER = 1024 * 1024
LONGEST_TOKEN = 16 * 1024
LONGEST_SUBJECT = 255
TYPES = frozenset({"jwt", "at+jwt"})
"""What `typ` of an access token says, if it says anything. Other tokens of an issuer, for example
those of a logout, are signed with the same keys."""
log = structlog.get_logger()


class TokenRefused(Exception):
    """States the reason, without any part of the token."""


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
    """Caches the issuer's keys. While the issuer is unreachable, the cached keys stay valid."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._client = httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False)
        self._lock = asyncio.Lock()
        self._keys: KeySet | None = None
        self._read_at = 0.0
        self._requested_at: float | None = None
        self._failure = "no request was sent yet"
        self._refresh: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.gather(self._refresh, return_exceptions=True)
        await self._client.aclose()

    async def get(self, key_id: str | None) -> "KeySet":
        """Return the keys, fetching them if `key_id` is unknown. Raise `EngineUnreachable` if there
        are none."""
        if not self._has(key_id):
            async with self._lock:
                if not self._has(key_id) and self._may_fetch():
                    await self._fetch()
        elif self._is_old() and self._may_fetch():
            # Nobody waits for this: the cached keys stay valid meanwhile.
            self._refresh = asyncio.create_task(self._fetch())
        if self._keys is None:
            raise EngineUnreachable(
                f"The keys of the token issuer cannot be fetched: {self._failure}",
                dependency="oidc",
            )
        return self._keys

    def _has(self, key_id: str | None) -> bool:
        if self._keys is None:
            return False
        return key_id is None or any(key.kid == key_id for key in self._keys)

    def _is_old(self) -> bool:
        return time.monotonic() - self._read_at > KEYS_MAX_AGE

    def _may_fetch(self) -> bool:
        requested_at = self._requested_at
        return requested_at is None or time.monotonic() - requested_at >= REQUEST_INTERVAL

    async def _fetch(self) -> None:
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        self._requested_at = time.monotonic()
        discovery = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            document = await self._get(discovery)
            if document.get("issuer") != self._issuer:
                raise ValueError("its discovery document names an issuer other than OIDC_ISSUER")
            key_set = await self._get(document["jwks_uri"])
            signing_keys = [key for key in key_set["keys"] if key.get("use", "sig") == "sig"]
            self._keys = KeySet.import_key_set({"keys": signing_keys})
        except httpx.HTTPError as error:
            self._failed(str(error) or type(error).__name__)
        except (ValueError, KeyError, TypeError, AttributeError, JoseError) as error:
            self._failed(f"its response cannot be used: {error}")
        else:
            self._read_at = time.monotonic()

    def _failed(self, reason: str) -> None:
        self._failure = reason
        log.warning("issuer_keys_not_fetched", issuer=self._issuer, error=reason)

    async def _get(self, url: str) -> dict[str, Any]:
        response = await self._client.get(url)
        response.raise_for_status()
        if len(response.content) > LONGEST_ANSWER:
            raise ValueError("more than a megabyte")
        document = json.loads(response.content)
        if not isinstance(document, dict):
            raise TypeError("not a JSON object")
        return document


INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Characters that Python considers printable but that are invisible: Default_Ignorable_Code_Point
in Unicode's DerivedCoreProperties, and the empty Braille pattern."""


def subject_refusal(subject: object) -> str | None:
    """Return why a `sub` cannot name a caller, or None if it can."""
    if not isinstance(subject, str):
        return "is not a string"
    if not subject.strip():
        return "is empty"
    if len(subject) > LONGEST_SUBJECT:
        return f"is longer than {LONGEST_SUBJECT} characters"
    if not subject.isprintable() or INVISIBLE.search(subject):
        return "contains control or invisible characters"
    if subject != subject.strip():
        return "begins or ends with a space"
    if is_reserved(subject):
        return "is a name that Asgard reserves"
    return None


class TokenVerifier:
    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._keys = IssuerKeys(issuer.url)

    async def close(self) -> None:
        await self._keys.close()

    async def caller(self, token: str) -> Caller:
        """Return the caller. Raise `TokenRefused`, or `EngineUnreachable` while there are no keys
        to verify it with."""
        claims = await self._claims(token)
        return Caller(self._subject(claims["sub"]), self._scopes(claims))

    def _subject(self, subject: object) -> str:
        reason = subject_refusal(subject)
        if reason is None:
            return str(subject)
        log.warning(
            "token_subject_refused",
            issuer=self._issuer.url,
            subject=repr(subject)[:LONGEST_SUBJECT],
            why=reason,
        )
        raise TokenRefused(f"its sub {reason}")

    async def _claims(self, token: str) -> dict[str, Any]:
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        if len(token) > LONGEST_TOKEN:
            raise TokenRefused("it is too long")
        keys = await self._keys.get(self._key_id(token))
        try:
            # The gateway chooses the algorithms: `none` and HS256 are never among them.
            claims = jwt.decode(token, keys, algorithms=list(self._issuer.algorithms)).claims
            self._registry().validate(claims)
        except InvalidKeyIdError:
            raise TokenRefused("its kid does not name a key of the issuer") from None
        except JoseError as error:
            raise TokenRefused(error.description or error.error) from None
        except (ValueError, TypeError, KeyError, RecursionError):
            raise TokenRefused("it is not a signed JWT") from None
        return claims

    def _key_id(self, token: str) -> str | None:
        """Return the key id, and refuse tokens that are invalid with any key."""
        from joserfc.errors import JoseError
        from joserfc.jws import extract_compact

        try:
            header = extract_compact(token.encode()).headers()
        except (JoseError, ValueError, TypeError, RecursionError):
            raise TokenRefused("it is not a signed JWT") from None
        if not isinstance(header, dict):
            raise TokenRefused("it is not a signed JWT")
        if header.get("alg") not in self._issuer.algorithms:
            raise TokenRefused("its alg is not one of OIDC_ALGORITHMS")
        if str(header.get("typ") or "JWT").lower().removeprefix("application/") not in TYPES:
            raise TokenRefused("its typ is not that of an access token")
        key_id = header.get("kid")
        if key_id is not None and not isinstance(key_id, str):
            raise TokenRefused("its kid is not a string")
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
        claim: Any = claims
        for part in self._issuer.roles_claim.split("."):
            claim = claim.get(part) if isinstance(claim, dict) else None
        roles = claim.split() if isinstance(claim, str) else claim
        scopes: set[str] = set()
        for role in roles if isinstance(roles, list) else ():
            if isinstance(role, str):
                scopes.update(self._issuer.scopes_of(role))
        return frozenset(scopes)
