"""Who asks: on every record (`created_by`) and every idempotency key."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    subject: str
    scopes: frozenset[str] = frozenset()


ANONYMOUS = Caller("anonymous")
