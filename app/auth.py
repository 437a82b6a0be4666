"""Who is calling. Every router depends on it, so that each record knows who made it."""

from app.caller import ANONYMOUS, Caller


def current_caller() -> Caller:
    """The caller of this request."""
    return ANONYMOUS
