"""The valid keys of this gateway, read from their files and read again when those change."""

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
REFRESH_SECONDS = 1.0
"""The seconds within which a changed file is noticed."""
SHORTEST_PLAIN = 16
log = structlog.get_logger()
Version = tuple[int, int, int]


class KeyRing:
    """Raises `ConfigurationError` at the start if a file exists and cannot be used. Later, the
    previous keys stay valid, since one bad edit must not lock everyone out."""

    def __init__(self, keys_file: Path, plain_file: Path | None) -> None:
        empty: dict[str, KnownKey] = {}
        self._known = Watched(keys_file, _parse_known, empty, optional=True)
        self._plain = Watched(plain_file, _parse_plain, b"") if plain_file else None
        self._nobody = make_key("nobody", (ADMIN,), None).known
        if not self._known.current() and self._plain is None:
            log.warning("no_keys_yet", file=str(keys_file), hint="asgard keys create")

    def caller(self, key: str) -> Caller | None:
        """Return the caller, or None for a key that is unknown, revoked or expired."""
        if self._plain is not None:
            digest = hashlib.sha256(key.encode(errors="replace")).digest()
            if hmac.compare_digest(digest, self._plain.current()):
                return Caller("key:api-key", frozenset({ADMIN}))
        known = self._known.current().get(key_id(key) or "")
        # An unknown key is compared as well: the time must not reveal which ids exist.
        matches = (known or self._nobody).opens(key)
        if known is None or not matches or not known.is_live(datetime.now(UTC)):
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
        self._checked_at = time.monotonic()
        if not (optional and self._is_absent()):
            self._read()

    def current(self) -> T:
        now = time.monotonic()
        if now - self._checked_at >= REFRESH_SECONDS:
            self._checked_at = now
            self._refresh()
        return self._value

    def _refresh(self) -> None:
        try:
            if self._find_version() != self._version:
                self._read()
                log.info("keys_read_again", file=str(self._path))
        except ConfigurationError as error:
            # Log this once for each version of the file.
            self._version = self._find_version()
            log.error("keys_not_read", error=str(error))

    def _is_absent(self) -> bool:
        """Return whether the file does not exist. A file that cannot be read is not absent."""
        try:
            self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False

    def _find_version(self) -> Version | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _read(self) -> None:
        version = self._find_version()
        try:
            with self._path.open("rb") as file:
                _require_private(file.fileno(), self._path)
                self._value = self._parse(file.read())
        except OSError as error:
            raise ConfigurationError(f"{self._path}: {os.strerror(error.errno or 0)}.") from None
        except ValidationError as error:
            # The values are hashes and salts, which do not belong in a log.
            faults = "; ".join(f"{item['loc']}: {item['msg']}" for item in error.errors())
            raise ConfigurationError(f"{self._path} is not a valid key file: {faults}") from None
        except ValueError as error:
            raise ConfigurationError(f"{self._path}: {error}.") from None
        self._version = version


def _require_private(file: int, path: Path) -> None:
    """Raise `ConfigurationError` if another user could write the open file."""
    status = os.fstat(file)
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(f"{path} belongs to another user: run chown on it.")
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise ConfigurationError(f"{path} is writable by other users: run chmod 600 on it.")


def key_faults(settings: Settings) -> Iterator[ConfigProblem]:
    """Yield the problems of the key files, if this gateway uses keys."""
    if settings.authentication is not AuthMode.API_KEY:
        return
    keys_file, plain_file = settings.keys_file, settings.auth_api_key_file
    yield from _faults_of(
        "AUTH_KEYS_FILE",
        lambda: Watched[dict[str, KnownKey]](keys_file, _parse_known, {}, optional=True),
        "`asgard keys create` creates such a file.",
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
        raise ValueError("it contains a placeholder from an example, which can be guessed")
    if len(key) < SHORTEST_PLAIN:
        raise ValueError(f"the key can be guessed: expected at least {SHORTEST_PLAIN} characters")
    register_secrets([key.decode(errors="replace")])
    return hashlib.sha256(key).digest()
