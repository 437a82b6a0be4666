"""What publishing starts from and results in."""

from dataclasses import dataclass

from app.errors import EngineFailed
from app.failure import FailureCause


def target_changed(table: str) -> EngineFailed:
    """Somebody else committed to the table in between: nothing was published, a retry may work."""
    return EngineFailed(
        f"{table} was changed by another writer while its new contents were computed; "
        "nothing was published.",
        cause=FailureCause.INTERNAL,
        hint="Run it again: it will start from the table as it is now.",
        retryable=True,
        changed_table=table,
    )


@dataclass(frozen=True)
class ExpectedSnapshot:
    """The state that new contents were computed from. None: there was no table yet."""

    snapshot_id: str | None
