"""Recognizes secrets in JSON that clients make up, by the name of a field or the form of a text.

A connector's spec marks its own secret fields. This module covers all others: fields that no spec
names, and texts that contain credentials.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from app.redaction import PATTERNS

MASK = "**********"
Pointer = tuple[str | int, ...]
"""The steps to a value: names of fields and positions in lists."""

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_SECRET_NAMES = re.compile(
    "pass_?(word|wort|phrase|wd|code|key)|secret|token|credential|keystore|shared_access_signature"
    "|(^|_)(pass|pw|pwd|psk|pin|otp|pat|pem|dsn|sas|auth|creds?|cookies?|bearer|jwt|session_id)(_|$)"
    "|conn(ection)?_?str|jaas|authorization"
    "|(api|access|account|encryption|private|shared|signing|ssh)_?keys$"
    "|(api|access|account|encryption|private|shared|signing|ssh)key$"
    "|(?<!primary_)(?<!partition_)(?<!foreign_)(?<!unique_)(?<!cursor_)(?<!sort_)(?<!merge_)"
    "(?<![a-z])key$"
)
_DESCRIPTIVE_NAMES = re.compile(
    r"(^|_)(type|method|mode|title|url|uri|endpoint|expires|expires_in|expiry)$"
)
"""Endings of names that describe a secret but are not secrets themselves: `token_type`,
`credentials_title`."""
_CERTAIN_NAMES = re.compile(
    "(^|_)(pass|pass_?(words?|phrase|wd|code)|pgpassword|pwd|psk|dsn|jwt|bearer|secrets?|(?<!max_)(?<!min_)(?<!num_)tokens?"
    "|credentials?|cookies?|authorization|conn(ection)?_?str(ing)?|jaas_config|secret_?key"
    "|(api|access|account|encryption|hmac|private|signing|ssh|ssl)_?keys?)$"
)
"""Names that mean a secret even in free JSON: neither `secret_name` nor `sort_key` does."""
_FORMS = (
    *(pattern for pattern, _ in PATTERNS),
    # A password with a slash in an address.
    re.compile(r"\w://[^\s/?#@:]{0,300}:(?!\d+[/?#])[^\s@]{1,300}@"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    # Tokens of well-known services, by their published prefixes.
    re.compile(r"(?<![\w-])(gh[pousr]_|github_pat_|xox[abpr]-|sk_live_|rk_live_|glpat-)[\w-]{10,}"),
    # A JAAS text, a connection string, the query of an address, or a shared access signature.
    re.compile(
        r"(?:^|[^\w.-])[\w.-]*(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key"
        r"|account[_-]?key|private[_-]?key|signature|(?<![a-z])sig)\s*[=:]\s*[^\s&;,]",
        re.IGNORECASE,
    ),
)
_PAIRS = ("name", "key", "header", "header_name", "field_name")
"""Fields that name the `value` next to them: `{"name": "Authorization", "value": "…"}`."""


def is_secret_name(name: str) -> bool:
    plain = _plain(name)
    return _SECRET_NAMES.search(plain) is not None and _DESCRIPTIVE_NAMES.search(plain) is None


def is_secret_text(text: str) -> bool:
    if any(pattern.search(text) for pattern in _FORMS):
        return True
    if text.lstrip()[:1] not in {"{", "["}:
        return False
    try:
        return bool(secret_pointers_of(json.loads(text)))
    except RecursionError:
        return True  # a text that cannot be searched is not shown
    except ValueError:
        return False


def secret_pointers_of(value: Any) -> set[Pointer]:
    """Return where the secrets in `value` are, at any depth."""
    return set(_secrets(value, within=False))


def plain_secrets(value: Any) -> Iterator[Pointer]:
    """Yield where free JSON certainly has a secret. Empty texts, numbers and masked values are not
    secrets."""
    for pointer, name, leaf in _named(value, ""):
        if not isinstance(leaf, str) or not leaf or leaf == MASK:
            continue
        if _CERTAIN_NAMES.search(_plain(name)) or is_secret_text(leaf):
            yield pointer


def _secrets(value: Any, *, within: bool) -> Iterator[Pointer]:
    """Yield the secrets in `value`. `within` is true if `value` is under a secret's name."""
    match value:
        case dict():
            named = within or _is_named_pair(value)
            for name, inner in value.items():
                described = _DESCRIPTIVE_NAMES.search(_plain(name)) is not None
                secret = is_secret_name(name) or (named and not described and name not in _PAIRS)
                yield from ((name, *rest) for rest in _secrets(inner, within=secret))
        case list():
            for position, inner in enumerate(value):
                yield from ((position, *rest) for rest in _secrets(inner, within=within))
        case str() if value and (within or is_secret_text(value)):
            yield ()
        case int() | float() if within and not isinstance(value, bool):
            yield ()


def _is_named_pair(value: Mapping[str, Any]) -> bool:
    if "value" not in value:
        return False
    names = [value.get(name) for name in _PAIRS]
    return any(isinstance(name, str) and is_secret_name(name) for name in names)


def _named(value: Any, name: str) -> Iterator[tuple[Pointer, str, Any]]:
    """Yield every leaf with the name of the field that holds it or its list."""
    match value:
        case dict():
            for inner_name, inner in value.items():
                for pointer, named, leaf in _named(inner, inner_name):
                    yield (inner_name, *pointer), named, leaf
        case list():
            for position, inner in enumerate(value):
                for pointer, named, leaf in _named(inner, name):
                    yield (position, *pointer), named, leaf
        case _:
            yield (), name, value


def _plain(name: str) -> str:
    """Return `client_secret` for `clientSecret`, `client-secret` and `Client Secret`, in any width
    or style of letters (NFKC)."""
    return _WORD.sub("_", unicodedata.normalize("NFKC", name)).lower()
