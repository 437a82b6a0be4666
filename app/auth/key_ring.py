"""The keys that open this gateway, from their files, read again when those change."""

import hashlib
import hmac
import os
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

import structlog
from pydantic import ValidationError

from app.auth.keys import KeyFile, KnownKey, key_id, make_key
from app.caller import ADMIN, Caller
from app.config import AuthMode, ConfigProblem, ConfigurationError, Settings
from app.config.placeholders import is_placeholder
from app.redaction import register_secrets

T = TypeVar("T")
LOOKED_AT_EVERY = 1.0
"""Seconds within which a changed file is seen."""
SHORTEST_PLAIN = 16
log = structlog.get_logger()
Version = tuple[int, int, int]


class KeyRing:
    """Raises `ConfigurationError` at the start when a file is there and cannot be used; later the
    former keys stay, since one bad edit must not lock everybody out."""

    def __init__(self, keys_file: Path, plain_file: Path | None) -> None:
        none: dict[str, KnownKey] = {}
        self._known = Watched(keys_file, _parse_known, none, optional=True)
        self._plain = Watched(plain_file, _parse_plain, b"") if plain_file else None
        self._nobody = make_key("nobody", (ADMIN,), None).known
        if not self._known.current() and self._plain is None:
            log.warning("no_keys_yet", file=str(keys_file), hint="asgard keys create")

    def caller(self, key: str) -> Caller | None:
        """None for a key that is not known, revoked or out of date."""
        if self._plain is not None:
            given = hashlib.sha256(key.encode(errors="replace")).digest()
            if hmac.compare_digest(given, self._plain.current()):
                return Caller("key:api-key", frozenset({ADMIN}))
        known = self._known.current().get(key_id(key) or "")
        # A key that nobody has is compared, too: time must not tell which ids there are.
        opened = (known or self._nobody).opens(key)
        if known is None or not opened or not known.is_live(datetime.now(UTC)):
            return None
        return known.caller


class Watched(Generic[T]):
    def __init__(
        self, path: Path, parse: Callable[[bytes], T], empty: T, optional: bool = False
    ) -> None:
        self._path = path
        self._parse = parse
        self._value = empty
        self._version: Version | None = None
        self._looked_at = time.monotonic()
        if not (optional and self._is_absent()):
            self._read()

    def current(self) -> T:
        now = time.monotonic()
        if now - self._looked_at >= LOOKED_AT_EVERY:
            self._looked_at = now
            self._refresh()
        return self._value

    def _refresh(self) -> None:
        try:
            if self._find_version() != self._version:
                self._read()
                log.info("keys_read_again", file=str(self._path))
        except ConfigurationError as error:
            # Said once for each version of the file.
            self._version = self._find_version()
            log.error("keys_not_read", error=str(error))

    def _is_absent(self) -> bool:
        """Not so when it may only not be looked at."""
        try:
            self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False

    def _find_version(self) -> Version | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> None:
        version = self._find_version()
        try:
            mode = stat.S_IMODE(self._path.stat().st_mode)
            if mode & 0o022:
                raise ConfigurationError(f"{self._path} may be written by others: chmod 600 it.")
            self._value = self._parse(self._path.read_bytes())
        except OSError as error:
            raise ConfigurationError(f"{self._path}: {os.strerror(error.errno or 0)}.") from None
        except ValidationError as error:
            # Its values are hashes and salts, which nobody needs in a log.
            wrong = "; ".join(f"{item['loc']}: {item['msg']}" for item in error.errors())
            raise ConfigurationError(f"{self._path} is no file of keys: {wrong}") from None
        except ValueError as error:
            raise ConfigurationError(f"{self._path}: {error}") from None
        self._version = version


def key_faults(settings: Settings) -> Iterator[ConfigProblem]:
    """What keeps a gateway that asks for keys from starting: their files."""
    if settings.authentication is not AuthMode.API_KEY:
        return
    keys_file, plain_file = settings.keys_file, settings.auth_api_key_file
    yield from _faults_of(
        "AUTH_KEYS_FILE",
        lambda: Watched[dict[str, KnownKey]](keys_file, _parse_known, {}, optional=True),
        "`asgard keys create` makes such a file.",
    )
    if plain_file is not None:
        yield from _faults_of(
            "AUTH_API_KEY_FILE",
            lambda: Watched(plain_file, _parse_plain, b""),
            "Put one random key into it: `openssl rand -hex 24`.",
        )


def _faults_of(variable: str, read: Callable[[], object], advice: str) -> Iterator[ConfigProblem]:
    try:
        read()
    except ConfigurationError as error:
        yield ConfigProblem((variable,), f"{variable}: {error}", advice)


def _parse_known(content: bytes) -> dict[str, KnownKey]:
    return {key.id: key for key in KeyFile.model_validate_json(content).keys}


def _parse_plain(content: bytes) -> bytes:
    key = content.strip()
    if is_placeholder(key.decode(errors="replace")):
        raise ValueError("it holds the placeholder of an example, which can be guessed")
    if len(key) < SHORTEST_PLAIN:
        raise ValueError(f"a key has at least {SHORTEST_PLAIN} characters; this one can be guessed")
    register_secrets([key.decode(errors="replace")])
    return hashlib.sha256(key).digest()
