"""An OpenID issuer on 127.0.0.1 with keys of its own, for tests: discovery, JWKS, tokens."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from tests.http_server import Asked, serving

AUDIENCE = "asgard"


class TestIssuer:
    __test__ = False

    def __init__(self) -> None:
        self.keys: dict[str, RSAKey | ECKey] = {}
        self.asked = 0
        self.is_broken = False
        self.rotate("first")
        self.url = ""

    def answer(self, asked: Asked) -> tuple[int, dict[str, Any]]:
        status = 500 if self.is_broken else 200
        if asked.path == "/.well-known/openid-configuration":
            return status, {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
        self.asked += 1
        return status, {"keys": [key.as_dict(private=False) for key in self.keys.values()]}

    def rotate(self, kid: str, kind: str = "RSA") -> None:
        """The new key signs alone; the former one is withdrawn."""
        self.keys = {kid: new_key(kid, kind)}

    def claims(self, **more: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": now,
            "exp": now + 300,
            "realm": {"roles": ["analyst", "dbt:read"]},
        }
        return {name: value for name, value in (claims | more).items() if value is not None}

    def token(self, *, key: Any = None, header: dict[str, Any] | None = None, **more: Any) -> str:
        kid, own = next(iter(self.keys.items()))
        signer = own if key is None else key
        alg = "ES256" if isinstance(signer, ECKey) else "RS256"
        head = {"alg": alg, "kid": kid} | (header or {})
        return jwt.encode(head, self.claims(**more), signer, algorithms=[head["alg"]])


def new_key(kid: str, kind: str = "RSA") -> RSAKey | ECKey:
    parameters = {"kid": kid, "use": "sig"}
    if kind == "EC":
        return ECKey.generate_key("P-256", parameters)
    return RSAKey.generate_key(2048, parameters)


@contextmanager
def issuing() -> Iterator[TestIssuer]:
    issuer = TestIssuer()
    with serving(issuer.answer) as port:
        issuer.url = f"http://127.0.0.1:{port}"
        yield issuer
