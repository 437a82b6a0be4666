"""Bearer tokens for the catalog of SeaweedFS, signed by the client itself.

SeaweedFS gives such a token to a client that sends its secret key, over plain HTTP. It keeps no
list of the tokens. It checks their signatures with a key that it derives from the secret key. A
client that signs its own tokens never sends the secret key, so a stranger that listens on the
catalog's port cannot get it.
"""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from typing import Any

from app.redaction import register_transient_secrets

LIFETIME = 60.0
"""Seconds. A stranger that gets a token cannot use it for longer."""
WORKER_LIFETIME = 3600.0
"""Seconds, for engines that cannot renew a token. Their identities have few rights."""
KEY_DERIVATION = b"seaweedfs-iceberg-oauth"


def sign_token(credential: str, lifetime: float) -> str:
    """Return a JSON Web Token (HS256) for `credential`, which is `ACCESS_KEY:SECRET_KEY`."""
    access_key, _, secret_key = credential.partition(":")
    now = int(time.time())
    claims = {"access_key": access_key, "iat": now, "exp": now + int(lifetime)}
    signed = f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{_encoded(claims)}"
    material = f"{access_key}\0{secret_key}".encode()
    key = hmac.digest(KEY_DERIVATION, material, "sha256")
    token = f"{signed}.{_base64(hmac.digest(key, signed.encode(), 'sha256'))}"
    register_transient_secrets([token])
    return token


def _encoded(part: dict[str, Any]) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
