"""The expected state of a table to publish, and the error for another state."""

from dataclasses import dataclass

from app.errors import EngineFailed
from app.failure import FailureCause


def target_changed(table: str) -> EngineFailed:
    """Return the error for a table that another writer changed. Nothing was published, and a retry
    may work."""
    return EngineFailed(
        f"Another writer changed {table} while its new contents were computed. "
        "Nothing was published.",
        cause=FailureCause.INTERNAL,
        hint="Start it again. It will use the current state of the table.",
        retryable=True,
        changed_table=table,
    )


@dataclass(frozen=True)
class ExpectedSnapshot:
    """The state that new contents were computed from. None means that there was no table yet."""

    snapshot_id: str | None
