"""Who asks: on every record (`created_by`), every idempotency key and every line of the audit."""

from dataclasses import dataclass

DOMAINS = ("airbyte", "spark", "dbt", "data-products", "runs")
ADMIN = "admin"
"""Grants every scope."""
METRICS = "metrics:read"
"""For Prometheus, whose key can then do nothing else."""
SCOPES = frozenset(
    {*(f"{domain}:{access}" for domain in DOMAINS for access in ("read", "write")), METRICS, ADMIN}
)


@dataclass(frozen=True)
class Caller:
    subject: str
    scopes: frozenset[str] = frozenset()

    def may(self, scope: str) -> bool:
        return scope in self.scopes or ADMIN in self.scopes


ANONYMOUS = Caller("anonymous")
"""Callers that nobody can tell apart: AUTH_MODE=none."""
