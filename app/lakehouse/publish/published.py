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
    """The only table state that a commit may change. None means that the table did not exist
    yet."""

    snapshot_id: str | None

    @classmethod
    def of(cls, table: TableInfo | None) -> "ExpectedSnapshot":
        """Return the state of a table that was read before the fence. If another owner has taken
        over the run since, it may publish first, and this state is then outdated."""
        return cls(table.snapshot_id if table is not None else None)
