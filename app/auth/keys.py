"""API keys: their form, what is stored of them, and the file of known keys.

A secret is 32 random bytes, which cannot be guessed, however fast the hash is. So it is hashed with
salted SHA-256, not with a slow hash, which would cost every request (see
docs/adr/0007-keys-are-hashed-once.md).
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.caller import SCOPES, Caller

KEY = re.compile(r"^asgard_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$")
NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"


class KnownKey(BaseModel):
    """The stored part of a key. Times are in UTC, and `digest` is hexadecimal."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(pattern="^[0-9a-f]{12}$")
    name: str = Field(pattern=NAME)
    scopes: tuple[str, ...]
    salt: str
    digest: str
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None

    @field_validator("scopes")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(value) - SCOPES):
            names = ", ".join(sorted(SCOPES))
            raise ValueError(f"unknown scope: {', '.join(unknown)}; expected one of {names}")
        if not value:
            raise ValueError("a key needs at least one scope")
        return value

    def is_live(self, now: datetime) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)

    def opens(self, key: str) -> bool:
        """Return whether the key matches, in the same time for a wrong key as for the right one."""
        return hmac.compare_digest(_digest(self.salt, key), self.digest)

    @property
    def caller(self) -> Caller:
        return Caller(f"key:{self.id}:{self.name}", frozenset(self.scopes))


class KeyFile(BaseModel):
    version: int = 1
    keys: tuple[KnownKey, ...] = ()

    def with_key(self, key: KnownKey) -> "KeyFile":
        """Return the file with the key added, or with the key of the same id replaced."""
        others = tuple(known for known in self.keys if known.id != key.id)
        return KeyFile(keys=(*others, key))

    def find(self, name_or_id: str) -> list[KnownKey]:
        """Return the keys of this name or id that are not revoked."""
        return [
            key for key in self.keys if name_or_id in {key.id, key.name} and key.revoked is None
        ]


class NewKey(NamedTuple):
    plain: str
    known: KnownKey


def make_key(name: str, scopes: Iterable[str], lifetime: timedelta | None) -> NewKey:
    """Return a new key. Raise `ValidationError` for an invalid scope or name."""
    key_id, salt, now = secrets.token_hex(6), secrets.token_hex(16), datetime.now(UTC)
    plain = f"asgard_{key_id}_{secrets.token_urlsafe(32)}"
    known = KnownKey(
        id=key_id,
        name=name,
        scopes=tuple(sorted(set(scopes))),
        salt=salt,
        digest=_digest(salt, plain),
        created=now,
        expires=now + lifetime if lifetime else None,
    )
    return NewKey(plain, known)


def key_id(key: str) -> str | None:
    """Return the id in a key, or None if it does not have the form of a key."""
    match = KEY.match(key)
    return match[1] if match else None


def _digest(salt: str, key: str) -> str:
    return hmac.new(salt.encode(), key.encode(errors="replace"), hashlib.sha256).hexdigest()
