"""Recognizes secrets in JSON of any form from clients, by the name of a field or the form of a
text.

A connector's spec marks its own secret fields. This module covers all others: fields that no spec
names, and texts that contain credentials.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.free_json import MAX_DEPTH, is_deeper
from app.secret_patterns import PATTERNS

MASK = "**********"
Pointer = tuple[str | int, ...]
"""The steps to a value: names of fields and positions in lists."""
_Place = tuple["_Place", str | int] | None
"""The place of the holder of a value, and the last step; None for the whole."""
_Found = tuple[_Place, Any, bool]
_Named = Callable[[dict[str, Any], _Place, bool], Iterator[_Found]]

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_SECRET_NAMES = re.compile(
    "pass_?(word|wort|phrase|wd|code|key)|secret|token|credential|keystore|shared_access_signature"
    "|(^|_)(pass|pw|pwd[0-9]*|psk|pin|otp|pat|pem|dsn|sas|auth|creds?|cookies?|bearer|jwt|session_id)(_|$)"
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
_ABOUT_SECRETS = re.compile(
    r"(^|_)(name|type|method|mode|title|description|note|url|uri|endpoint|path|location|vault|store"
    r"|manager|provider|ref|reference|owner|team|contact|policy|rotation|unit|expires|expires_in"
    r"|expiry)$"
)
"""Names of fields that describe the secret around them, for example where it is kept."""
_FORMS = (
    *(pattern for pattern, _ in PATTERNS),
    # Tokens of well-known services, by their published prefixes.
    re.compile(r"(?<![\w-])(gh[pousr]_|github_pat_|xox[abpr]-|sk_live_|rk_live_|glpat-)[\w-]{10,}"),
    # A JAAS text, a connection string, the query of an address, or a shared access signature.
    re.compile(
        r"(?:^|[^\w.-])[\w.-]*(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key"
        r"|account[_-]?key|private[_-]?key|signature|(?<![a-z])sig)\s*[=:]\s*[^\s&;,]",
        re.IGNORECASE,
    ),
)
_LOGIN = re.compile(r"\w://[^/?#:]*:(?!\d+[/?#])(?=.)")
"""The address and the user before a password that may have a slash."""
_SHORTEST = 5
"""Characters of the shortest text that has one of the forms: `pwd=x`."""
_PART = 200
"""Characters of a name that are normalized at once."""
_PAIRS = ("name", "key", "header", "header_name", "field_name")
"""Fields that name the `value` next to them: `{"name": "Authorization", "value": "…"}`."""


def is_secret_name(name: str) -> bool:
    plain = _plain(name)
    return _SECRET_NAMES.search(plain) is not None and _DESCRIPTIVE_NAMES.search(plain) is None


def is_secret_text(text: str) -> bool:
    """The work grows with the length of the text alone, whatever the text says."""
    if len(text) < _SHORTEST:
        return False
    if any(pattern.search(text) for pattern in _FORMS) or _has_login(text):
        return True
    if text.lstrip()[:1] not in {"{", "["}:
        return False
    try:
        # Python reads only integers of up to 4,300 digits.
        value = json.loads(text, parse_int=float)
    except RecursionError:
        return True  # a text that cannot be searched is not shown
    except ValueError:
        return False
    return is_deeper(value, MAX_DEPTH) or any(True for _ in _secrets(value))


def _has_login(text: str) -> bool:
    """Search only what stands before an @ without a space between."""
    for before in text.split("@")[:-1]:
        if before and not before[-1].isspace() and _LOGIN.search(before.rsplit(None, 1)[-1]):
            return True
    return False


def secret_pointers_of(value: Any) -> set[Pointer]:
    """Return where the secrets in `value` are, at any depth."""
    return {_pointer(place) for place in _secrets(value)}


def plain_secrets(value: Any) -> Iterator[Pointer]:
    """Yield where free JSON certainly has a secret. Empty texts and masked values are not secrets.
    A number is one only under a name in the singular: others are counts, such as `tokens`."""
    for place, leaf, is_named in _leaves(value, _plainly_named):
        if not isinstance(leaf, str) or not leaf or leaf == MASK:
            continue
        if is_named or is_secret_text(leaf):
            yield _pointer(place)
    for place, leaf, is_named in _leaves(value, _singly_named):
        if is_named and isinstance(leaf, int | float) and not isinstance(leaf, bool):
            yield _pointer(place)


def _secrets(value: Any) -> Iterator["_Place"]:
    for place, leaf, within in _leaves(value, _secretly_named):
        if isinstance(leaf, str):
            if leaf and (within or is_secret_text(leaf)):
                yield place
        elif within and isinstance(leaf, int | float) and not isinstance(leaf, bool):
            yield place


def _leaves(value: Any, named: "_Named") -> Iterator["_Found"]:
    """Yield each leaf in its order, and whether it stands under a secret's name. Lists inherit
    that. A place is a linked tuple: a pointer for each value would cost its depth."""
    open_: list[Iterator[_Found]] = [iter([(None, value, False)])]
    while open_:
        for found in open_[-1]:
            place, inner, within = found
            if isinstance(inner, dict):
                open_.append(named(inner, place, within))
                break
            if isinstance(inner, list):
                open_.append(_items(inner, place, within))
                break
            yield found
        else:
            open_.pop()


def _items(values: list[Any], place: "_Place", within: bool) -> Iterator["_Found"]:
    for position, inner in enumerate(values):
        yield (place, position), inner, within


def _secretly_named(fields: dict[str, Any], place: "_Place", within: bool) -> Iterator["_Found"]:
    named = within or _is_named_pair(fields)
    for name, inner in fields.items():
        plain = _plain(name)
        marked = _SECRET_NAMES.search(plain) is not None or (named and plain not in _PAIRS)
        yield (place, name), inner, marked and _DESCRIPTIVE_NAMES.search(plain) is None


def _plainly_named(fields: dict[str, Any], place: "_Place", within: bool) -> Iterator["_Found"]:
    named = _is_named_pair(fields, _is_certain_name)
    for name, inner in fields.items():
        plain = _plain(name)
        inherits = (within and _ABOUT_SECRETS.search(plain) is None) or (named and plain == "value")
        yield (place, name), inner, inherits or _CERTAIN_NAMES.search(plain) is not None


def _singly_named(fields: dict[str, Any], place: "_Place", within: bool) -> Iterator["_Found"]:
    named = within or _is_named_pair(fields, _is_single_name)
    for name, inner in fields.items():
        inherits = named and _plain(name) == "value"
        yield (place, name), inner, inherits or _is_single_name(name)


def _is_certain_name(name: str) -> bool:
    return _CERTAIN_NAMES.search(_plain(name)) is not None


def _is_single_name(name: str) -> bool:
    """Return whether a number with this name is a secret. `pass` may be the number of tests."""
    return _is_certain_name(name) and not _plain(name).endswith("s")


def _pointer(place: "_Place") -> Pointer:
    steps: list[str | int] = []
    while place is not None:
        place, step = place
        steps.append(step)
    return tuple(reversed(steps))


def _is_named_pair(
    value: Mapping[str, Any], is_secret: Callable[[str], bool] = is_secret_name
) -> bool:
    plain = {_plain(name): text for name, text in value.items()}
    if "value" not in plain:
        return False
    names = [plain.get(name) for name in _PAIRS]
    return any(isinstance(name, str) and is_secret(name) for name in names)


def _plain(name: str) -> str:
    """Return `client_secret` for `clientSecret`, `client-secret` and `Client Secret`, in any width
    or style of letters (NFKC)."""
    # Python sorts a row of combining characters in a time that grows with its square.
    parts = (name[at : at + _PART] for at in range(0, len(name), _PART))
    return _WORD.sub("_", "".join(unicodedata.normalize("NFKC", part) for part in parts)).lower()
