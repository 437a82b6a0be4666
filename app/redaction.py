"""What this process must not say: known secrets, and what has the form of one.

One for the process, as its log is: whatever prints anything is behind it, and secrets become known
in many places, some only while it runs (sources' passwords, tokens).
"""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

HIDDEN = "***"
SHORTEST = 4
"""A shorter secret would hide half of every log, and tell nobody anything new."""
SHORTEST_PASSING = 8
MOST_PASSING = 500
"""Tokens come anew for ever, and sources' secrets are callers' words: of these only as many, the
last ones, and none that is a common word, or callers could empty the log and slow it down."""
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


class Redactor:
    def __init__(self) -> None:
        self._lasting: set[str] = set()
        self._passing: OrderedDict[str, None] = OrderedDict()
        self._forms: tuple[str, ...] = ()
        self._learning = threading.Lock()

    def learn(self, secrets: Iterable[str | None]) -> None:
        """The gateway's own, for as long as it runs."""
        with self._learning:
            new = {secret for secret in secrets if secret and len(secret) >= SHORTEST}
            if not new <= self._lasting:
                self._lasting |= new
                self._form()

    def learn_passing(self, secrets: Iterable[str | None]) -> None:
        """Tokens, and what callers give."""
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
        forms = {form for secret in (*self._lasting, *self._passing) for form in _forms(secret)}
        self._forms = tuple(sorted(forms, key=len, reverse=True))

    def clean(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        for pattern, hidden in PATTERNS:
            text = pattern.sub(hidden, text)
        return text

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
learn, learn_passing = PROCESS.learn, PROCESS.learn_passing
clean, clean_json, clean_value = PROCESS.clean, PROCESS.clean_json, PROCESS.clean_value
