"""Who asks: on every record (`created_by`), every idempotency key and every line of the audit."""

import re
import unicodedata
from dataclasses import dataclass

DOMAINS = ("airbyte", "spark", "dbt", "data-products", "runs")
ADMIN = "admin"
"""Grants every scope."""
METRICS = "metrics:read"
"""For Prometheus, whose key can then do nothing else."""
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
RESERVED = frozenset({"anonymous", "unknown", "others"})
"""Subjects that Asgard itself writes: for AUTH_MODE=none, for a refused caller, and for callers
that the audit counts together."""


@dataclass(frozen=True)
class Caller:
    subject: str
    scopes: frozenset[str] = frozenset()

    def may(self, scope: str) -> bool:
        return scope in self.scopes or ADMIN in self.scopes


def identity_of(subject: str) -> str:
    """Return the same text for every key with the same name: a rotated key has another id."""
    found = KEY_SUBJECT.match(subject)
    return f"{KEY_PREFIX}:{found['name']}" if found else subject


def is_same_caller(one: str, other: str) -> bool:
    return identity_of(one) == identity_of(other)


def is_reserved(subject: str) -> bool:
    """Whether a subject looks like one of Asgard's own, in any case and any width of letters."""
    plain = unicodedata.normalize("NFKC", subject).casefold().strip()
    return plain in RESERVED or plain.startswith(KEY_PREFIX)


ANONYMOUS = Caller("anonymous")
"""Callers that nobody can tell apart: AUTH_MODE=none."""
