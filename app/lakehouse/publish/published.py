"""The expected state of a table to publish, and the error for another state."""

from dataclasses import dataclass

from app.errors import EngineFailed
from app.failure import FailureCause
from app.lakehouse.tables import TableInfo


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
    """The state that a commit changes, and no other. None means that there was no table yet."""

    snapshot_id: str | None

    @classmethod
    def of(cls, table: TableInfo | None) -> "ExpectedSnapshot":
        """Return the state of a table that was asked for before the fence. If the run has another
        owner by then, that owner may publish before this one, and this state is then a former
        one."""
        return cls(table.snapshot_id if table is not None else None)
