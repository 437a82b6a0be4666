"""The outcomes of calls, the same for everything that is called."""

import asyncio
from enum import StrEnum

from app.errors import AsgardError, EngineFailed, EngineTimeout, EngineUnreachable


class Outcome(StrEnum):
    OK = "ok"
    REFUSED = "refused"
    """The caller made an error or lost a race. The engine works."""
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"

    @property
    def is_fine(self) -> bool:
        return self in {Outcome.OK, Outcome.REFUSED}

    @classmethod
    def of(cls, error: BaseException) -> "Outcome":
        match error:
            case EngineUnreachable():
                return cls.UNREACHABLE
            case EngineTimeout() | TimeoutError():
                return cls.TIMEOUT
            case asyncio.CancelledError() | GeneratorExit():
                return cls.CANCELLED
            case EngineFailed():
                return cls.FAILED
            case AsgardError():
                return cls.REFUSED
            case _:
                return cls.FAILED

    @classmethod
    def of_status(cls, status: int) -> "Outcome":
        """Return the outcome of an HTTP response."""
        if status >= 500 or status in {401, 403, 429}:
            return cls.FAILED
        return cls.REFUSED if status >= 400 else cls.OK
