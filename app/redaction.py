"""Hides what this process must not print: known secrets, and text that has the form of one.

The gateway's own secrets are known to the whole process, because they become known in many places,
some only while it runs (tokens), and everything that it prints has to pass here. A caller's secrets
are known only within the request or run to which they belong (`within`). Otherwise, any caller
could have words hidden that others need.
"""

import heapq
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

from app.shorten import shortened

HIDDEN = "***"
SHORTEST = 4
"""A shorter secret would hide half of every log, and tell nobody anything new."""
SHORTEST_PASSING = 8
MOST_PASSING = 500
"""Tokens are renewed for as long as the process runs: only the last ones are kept."""
MOST_OF_CALLER = 500
"""Each one is looked for in every text: more would slow down the gateway for everybody."""
LONGEST_FORM = 8 * 1024
"""Characters. Of a longer secret, a part may remain where `clean_start` cuts a text."""
LONGEST_NAME = 200
LONGEST_VALUE = 2000
MOST_OF_MEMBERS = 64 * 1024
"""Characters of all the texts in an error's member, and of its other values as JSON, about."""
DEEPEST = 10
SHORTEST_LINE = 16
"""Of a secret with several lines, as keys in PEM have."""
PATTERNS = (
    # Credentials in an address; a password may hold an @.
    (re.compile(r"(\w://)[^\s\"'/<>]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"\b((?i:bearer|basic)) +(?=\S*[0-9A-Z])[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    # A JWT, and a key of Asgard.
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"\basgard_[0-9a-f]{12}_[\w-]{20,}"), HIDDEN),
)


class Scope:
    """The secrets of one request or run. They are hidden only in what belongs to it."""

    def __init__(self) -> None:
        self._secrets: OrderedDict[str, None] = OrderedDict()
        self._learning = threading.Lock()
        self.forms: tuple[str, ...] = ()
        """Every spelling of the secrets, the longest first."""

    def register_secrets(self, secrets: Iterable[str | None]) -> None:
        with self._learning:
            for secret in secrets:
                if secret and len(secret) >= SHORTEST:
                    self._secrets[secret] = None
                    self._secrets.move_to_end(secret)
            while len(self._secrets) > MOST_OF_CALLER:
                self._secrets.popitem(last=False)
            self.forms = _longest_first(self._secrets)


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


def register_caller_secrets(secrets: Iterable[str | None]) -> None:
    """Learn a caller's secrets for the current request or run, or else for this task."""
    here = _scope.get()
    if here is None:
        here = Scope()
        _scope.set(here)
    here.register_secrets(secrets)


class Redactor:
    def __init__(self) -> None:
        self._lasting: set[str] = set()
        self._passing: OrderedDict[str, None] = OrderedDict()
        self._forms: tuple[str, ...] = ()
        self._learning = threading.Lock()

    def register_secrets(self, secrets: Iterable[str | None]) -> None:
        """The gateway's own, for as long as it runs."""
        with self._learning:
            new = {secret for secret in secrets if secret and len(secret) >= SHORTEST}
            if not new <= self._lasting:
                self._lasting |= new
                self._form()

    def register_transient_secrets(self, secrets: Iterable[str | None]) -> None:
        """Learn tokens that the gateway obtained."""
        with self._learning:
            new = False
            for secret in secrets:
                if secret and len(secret) >= SHORTEST_PASSING:
                    new = new or secret not in self._passing
                    self._passing[secret] = None
                    self._passing.move_to_end(secret)
            while len(self._passing) > MOST_PASSING:
                self._passing.popitem(last=False)
            if new:
                self._form()

    def _form(self) -> None:
        self._forms = _longest_first((*self._lasting, *self._passing))

    def clean(self, text: str) -> str:
        here = _scope.get()
        of_caller = here.forms if here else ()
        # The longest goes first: a part of it may be another secret.
        for form in heapq.merge(self._forms, of_caller, key=len, reverse=True):
            if form in text:
                text = text.replace(form, HIDDEN)
        for pattern, hidden in PATTERNS:
            text = pattern.sub(hidden, text)
        return text

    def clean_start(self, text: str, most: int) -> str:
        """Return the start of a text. Only that is looked through, so the text may be long."""
        looked_at = most + LONGEST_FORM
        if len(text) <= looked_at:
            return shortened(self.clean(text), most)
        # The end may be a part of a secret.
        start = self.clean(text[:looked_at])[:-LONGEST_FORM]
        return shortened(start, most, len(text) - looked_at + LONGEST_FORM)

    def clean_member(self, value: Any) -> Any:
        """Return as much of a JSON value as an error may hold."""
        return _Member(self).start(value)

    def clean_json(self, line: str) -> str:
        """An object of JSON: what its members say, never their names or its form."""
        if self.clean(line) == line:
            return line
        return json.dumps({key: self.clean_value(value) for key, value in json.loads(line).items()})

    def clean_value(self, value: Any) -> Any:
        """Anything that JSON has."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, list):
            return [self.clean_value(item) for item in value]
        if isinstance(value, dict):
            return {self.clean(key): self.clean_value(item) for key, item in value.items()}
        return value


class _Member:
    """Keeps the members of an error that come first, until there is no room left."""

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
        kept = self._redactor.clean_start(text, most)
        self._room -= len(kept)
        return kept

    def _list(self, items: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        kept: list[Any] = []
        for item in items:
            if self._room <= 0:
                kept.append(f"… ({len(items) - len(kept)} more)")
                break
            kept.append(self.start(item, depth + 1))
        return kept

    def _object(self, items: dict[Any, Any], depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, item in items.items():
            if self._room <= 0:
                kept["…"] = f"{len(items) - len(kept)} more"
                break
            kept[self._text(str(name), LONGEST_NAME)] = self.start(item, depth + 1)
        return kept


def _longest_first(secrets: Iterable[str]) -> tuple[str, ...]:
    forms = {form for secret in secrets for form in _forms(secret)}
    return tuple(sorted(forms, key=len, reverse=True))


def _forms(secret: str) -> Iterable[str]:
    """As it is, and as it stands in JSON and in an address."""
    lines = secret.splitlines()
    parts = [secret] if len(lines) < 2 else [line for line in lines if len(line) >= SHORTEST_LINE]
    for part in parts:
        if len(part) >= SHORTEST:
            yield part
            yield json.dumps(part)[1:-1]
            yield quote(part, safe="")


PROCESS = Redactor()
register_secrets, register_transient_secrets = (
    PROCESS.register_secrets,
    PROCESS.register_transient_secrets,
)
clean, clean_json, clean_value = PROCESS.clean, PROCESS.clean_json, PROCESS.clean_value
clean_start, clean_member = PROCESS.clean_start, PROCESS.clean_member
