"""The caller of a request: on every record (`created_by`), idempotency key and audit record."""

import re
import unicodedata
from dataclasses import dataclass

DOMAINS = ("airbyte", "spark", "dbt", "data-products", "runs")
ADMIN = "admin"
"""Grants every scope."""
METRICS = "metrics:read"
"""For Prometheus, so that its key can do nothing else."""
RUNS_ADMIN = "runs:admin"
"""Lets a caller cancel other callers' runs on the routes where it may cancel its own."""
SCOPES = frozenset(
    {
        *(f"{domain}:{access}" for domain in DOMAINS for access in ("read", "write")),
        METRICS,
        RUNS_ADMIN,
        ADMIN,
    }
)
KEY_PREFIX = "key:"
KEY_SUBJECT = re.compile(rf"^{KEY_PREFIX}[0-9a-f]{{12}}:(?P<name>.+)$")
RESERVED = frozenset({"anonymous", "unknown", "others", "airbyte"})
"""Subjects that Asgard itself writes: for AUTH_MODE=none, for a refused caller, for callers that
the audit counts together, and for what was created in Airbyte."""


@dataclass(frozen=True)
class Caller:
    subject: str
    scopes: frozenset[str] = frozenset()

    def may(self, scope: str) -> bool:
        return scope in self.scopes or ADMIN in self.scopes


def identity_of(subject: str) -> str:
    """Return the same text for every key with the same name: a rotated key has another id."""
    match = KEY_SUBJECT.match(subject)
    return f"{KEY_PREFIX}:{match['name']}" if match else subject


def is_same_caller(one: str, other: str) -> bool:
    return identity_of(one) == identity_of(other)


def is_reserved(subject: str) -> bool:
    """Return whether a subject looks like one of Asgard's own, in any case and width of letters."""
    plain = unicodedata.normalize("NFKC", subject).casefold().strip()
    return plain in RESERVED or plain.startswith(KEY_PREFIX)


ANONYMOUS = Caller("anonymous")
"""All callers with AUTH_MODE=none, which cannot be told apart."""
