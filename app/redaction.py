"""What this process must not say: known secrets, and what has the form of one.

One for the process, as its log is: whatever prints anything is behind it, and secrets become known
in many places, some only while it runs (sources' passwords, tokens).
"""

import json
import re
import threading
from collections.abc import Iterable
from urllib.parse import quote

HIDDEN = "***"
SHORTEST = 4
"""A shorter secret would hide half of every log, and tell nobody anything new."""
SHORTEST_LINE = 16
"""Of a secret with several lines, as keys in PEM have."""
PATTERNS = (
    # Credentials in an address; a password may hold an @.
    (re.compile(r"(\w://)[^\s\"'/<>]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"\b((?i:bearer|basic)) +(?=\S*[0-9A-Z])[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    # A JWT, and a key of Asgard.
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"\basgard_[0-9a-f]{12}_[\w-]{20,}"), HIDDEN),
)


class Redactor:
    def __init__(self) -> None:
        self._forms: tuple[str, ...] = ()
        self._learning = threading.Lock()

    def learn(self, secrets: Iterable[str | None]) -> None:
        new = {form for secret in secrets if secret for form in _forms(secret)}
        with self._learning:
            if not new.issubset(self._forms):
                self._forms = tuple(sorted(new.union(self._forms), key=len, reverse=True))

    def clean(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        for pattern, hidden in PATTERNS:
            text = pattern.sub(hidden, text)
        return text


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
learn, clean = PROCESS.learn, PROCESS.clean
