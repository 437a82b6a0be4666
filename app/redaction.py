"""Hides what this process must not print: known secrets, and text that has the form of one.

The gateway's own secrets are known to the whole process, because they become known in many places,
some only while it runs (tokens), and everything that it prints has to pass here. A caller's secrets
are known only within the request or run to which they belong (`within`). Otherwise, any caller
could hide words that others need.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any

from app.secret_parts import SHORTEST, parts_of
from app.secret_patterns import HIDDEN, PATTERNS
from app.shorten import shortened
from app.spellings import replace_spelled, unescaped

SHORTEST_TRANSIENT = 8
MOST_TRANSIENT = 500
"""Tokens are renewed for as long as the process runs, so only the latest are kept."""
MOST_OF_CALLER = 500
"""Each one is searched for in every text. More would slow down the gateway for all callers."""
MOST_FORMS = 1500
"""Parts of a caller's secrets. Each line of a secret is one."""
LONGEST_FORM = 8 * 1024
"""Characters. A part of a longer secret may remain where `clean_start` cuts a text."""
LONGEST_UNESCAPED = 64 * 1024
"""Characters. A longer secret is found only as it is and in JSON."""
LONGEST_NAME = 200
LONGEST_VALUE = 2000
MOST_OF_MEMBERS = 64 * 1024
"""The approximate number of characters in all texts and other values of an error's member."""
DEEPEST = 10


class Scope:
    """The secrets of one request or run. They are hidden only in what belongs to it."""

    def __init__(self, most: int = MOST_OF_CALLER, most_forms: int = MOST_FORMS) -> None:
        self._most, self._most_forms = most, most_forms
        self._secrets: OrderedDict[str, tuple[str, ...] | None] = OrderedDict()
        """With their forms, once these are found."""
        self._registering = threading.Lock()
        self.forms: tuple[str, ...] = ()
        """The secrets and their parts."""

    def register_secrets(self, secrets: Iterable[str | None]) -> None:
        with self._registering:
            for secret in secrets:
                if secret and len(secret) >= SHORTEST:
                    self._secrets.setdefault(secret, None)
                    self._secrets.move_to_end(secret)
            while len(self._secrets) > self._most:
                self._secrets.popitem(last=False)
            self.forms = tuple(_newest_forms(self._secrets, self._most_forms))


_scope: ContextVar[Scope | None] = ContextVar("secrets of a caller", default=None)


def scope() -> Scope | None:
    """Return the scope of the current request or run. Tasks and threads inherit it."""
    return _scope.get()


@contextmanager
def within(scope: Scope | None) -> Iterator[None]:
    """Use `scope` in the block. None is for work that serves several callers: it hides only the
    gateway's own secrets."""
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


@contextmanager
def within_also(scope: Scope) -> Iterator[None]:
    """Use `scope` in the block, in addition to the current one."""
    current = _scope.get()
    both = Scope()
    both.forms = (*scope.forms, *(current.forms if current else ()))
    with within(both):
        yield


def register_caller_secrets(secrets: Iterable[str | None]) -> None:
    """Register a caller's secrets for the current request or run, or else for this task."""
    current = _scope.get()
    if current is None:
        current = Scope()
        _scope.set(current)
    current.register_secrets(secrets)


class Redactor:
    def __init__(self) -> None:
        self._lasting: dict[str, tuple[str, ...]] = {}
        """The forms of each secret. Finding them takes longer than anything else here, and a
        token is registered with each renewal."""
        self._transient: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._forms: tuple[str, ...] = ()
        self._registering = threading.Lock()

    def register_secrets(self, secrets: Iterable[str | None]) -> None:
        """Register the gateway's own secrets, for as long as it runs."""
        with self._registering:
            given = {secret for secret in secrets if secret and len(secret) >= SHORTEST}
            new = given - self._lasting.keys()
            if new:
                self._lasting |= {secret: tuple(_forms(secret)) for secret in new}
                self._update_forms()

    def register_transient_secrets(self, secrets: Iterable[str | None]) -> None:
        """Register tokens that the gateway obtained."""
        with self._registering:
            new = False
            for secret in secrets:
                if secret and len(secret) >= SHORTEST_TRANSIENT:
                    if secret not in self._transient:
                        self._transient[secret] = tuple(_forms(secret))
                        new = True
                    self._transient.move_to_end(secret)
            while len(self._transient) > MOST_TRANSIENT:
                self._transient.popitem(last=False)
            if new:
                self._update_forms()

    def _update_forms(self) -> None:
        found = (*self._lasting.values(), *self._transient.values())
        self._forms = tuple({form for forms in found for form in forms})

    def clean(self, text: str) -> str:
        current = _scope.get()
        caller_forms = current.forms if current else ()
        text = replace_spelled(text, (*self._forms, *caller_forms), HIDDEN)
        for pattern, hidden in PATTERNS:
            text = pattern.sub(hidden, text)
        return text

    def clean_start(self, text: str, most: int) -> str:
        """Return the start of a text. Only that part is searched, so the text may be long."""
        searched = most + LONGEST_FORM
        if len(text) <= searched:
            return shortened(self.clean(text), most)
        # The end may be a part of a secret.
        start = self.clean(text[:searched])[:-LONGEST_FORM]
        return shortened(start, most, len(text) - searched + LONGEST_FORM)

    def clean_member(self, value: Any) -> Any:
        """Return as much of a JSON value as an error may hold."""
        return _Member(self).start(value)

    def clean_json(self, line: str) -> str:
        """Clean the values of a JSON object, but not the names of its members."""
        if self.clean(line) == line:
            return line
        return json.dumps({key: self.clean_value(value) for key, value in json.loads(line).items()})

    def clean_value(self, value: Any) -> Any:
        """Clean any JSON value."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, list):
            return [self.clean_value(item) for item in value]
        if isinstance(value, dict):
            return {self.clean(key): self.clean_value(item) for key, item in value.items()}
        return value


class _Member:
    """Keeps the first members of an error, until there is no room left."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._room = MOST_OF_MEMBERS

    def start(self, value: Any, depth: int = 0) -> Any:
        self._room -= 8
        if isinstance(value, str):
            return self._text(value, LONGEST_VALUE)
        if isinstance(value, list | tuple):
            return self._list(value, depth) if depth < DEEPEST else "…"
        if isinstance(value, dict):
            return self._object(value, depth) if depth < DEEPEST else "…"
        return value

    def _text(self, text: str, most: int) -> str:
        cleaned = self._redactor.clean_start(text, most)
        self._room -= len(cleaned)
        return cleaned

    def _list(self, items: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        retained: list[Any] = []
        for item in items:
            if self._room <= 0:
                retained.append(f"… ({len(items) - len(retained)} more)")
                break
            retained.append(self.start(item, depth + 1))
        return retained

    def _object(self, items: dict[Any, Any], depth: int) -> dict[str, Any]:
        retained: dict[str, Any] = {}
        for name, item in items.items():
            if self._room <= 0:
                retained["…"] = f"{len(items) - len(retained)} more"
                break
            retained[self._text(str(name), LONGEST_NAME)] = self.start(item, depth + 1)
        return retained


def _newest_forms(secrets: OrderedDict[str, tuple[str, ...] | None], most: int) -> Iterable[str]:
    """Return the parts of the newest secrets, as many as may be searched for. Keep those that are
    found in `secrets`."""
    forms: dict[str, None] = {}
    for secret in reversed(secrets):
        found = secrets[secret]
        if found is None:
            found = secrets[secret] = tuple(_forms(secret))
        forms |= dict.fromkeys(found)
        if len(forms) >= most:
            break
    return islice(forms, most)


def _forms(secret: str) -> Iterable[str]:
    """Yield what to search for in a text as it is, and in one without escapes. Without escapes, a
    text does not show where its backslashes end, so JSON's spelling is searched for as well."""
    for part in parts_of(secret):
        plain = unescaped(part) if len(part) <= LONGEST_UNESCAPED else part
        for form in (part, json.dumps(part)[1:-1], plain):
            if len(form) >= SHORTEST:
                yield form


PROCESS = Redactor()
register_secrets, register_transient_secrets = (
    PROCESS.register_secrets,
    PROCESS.register_transient_secrets,
)
clean, clean_json, clean_value = PROCESS.clean, PROCESS.clean_json, PROCESS.clean_value
clean_start, clean_member = PROCESS.clean_start, PROCESS.clean_member
