"""Defines the record of a data product and what follows from it alone."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, assert_never

from app.runs.model import RunState
from app.runs.pages import AnyRun
from app.warehouse.definitions import Definition


class DataProductType(StrEnum):
    CUSTOMER_360 = "CUSTOMER_360"
    PRODUCT_ANALYTICS = "PRODUCT_ANALYTICS"
    FINANCIAL_REPORTING = "FINANCIAL_REPORTING"
    OPERATIONAL_METRICS = "OPERATIONAL_METRICS"
    MARKETING_ANALYTICS = "MARKETING_ANALYTICS"
    CUSTOM = "CUSTOM"


class UpdateFrequency(StrEnum):
    REALTIME = "realtime"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"

    @property
    def limit_seconds(self) -> int:
        """Return the age that makes a table stale. Real time means 5 minutes: builds take time."""
        return _LIMITS[self]


_HOUR, _DAY = 3600, 86_400
_LIMITS = {
    UpdateFrequency.REALTIME: 300,
    UpdateFrequency.HOURLY: _HOUR,
    UpdateFrequency.DAILY: _DAY,
    UpdateFrequency.WEEKLY: 7 * _DAY,
    UpdateFrequency.MONTHLY: 31 * _DAY,
}


@dataclass(frozen=True)
class BuildTimes:
    """When the tables were last built, in seconds since the epoch, sorted by frequency and time."""

    never_built: int = 0
    times: Mapping[UpdateFrequency, Sequence[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, builds: Iterable[tuple[UpdateFrequency, datetime | None]]) -> "BuildTimes":
        """Take the time of each table's last successful build, None before the first one."""
        never_built = 0
        times: dict[UpdateFrequency, list[float]] = {}
        for frequency, at in builds:
            if at is None:
                never_built += 1
            else:
                times.setdefault(frequency, []).append(at.timestamp())
        return cls(never_built, {frequency: sorted(found) for frequency, found in times.items()})

    def stale(self, now: float) -> int:
        """Return how many tables are older than their frequency allows."""
        return sum(
            bisect_left(times, now - frequency.limit_seconds)
            for frequency, times in self.times.items()
        )

    def fresh(self, now: float) -> int:
        return sum(map(len, self.times.values())) - self.stale(now)

    def oldest(self, frequency: UpdateFrequency, now: float) -> float:
        """Return the age of the oldest table in seconds, 0 if there is none."""
        times = self.times.get(frequency)
        return max(0.0, now - times[0]) if times else 0.0


class ProductStatus(StrEnum):
    """`created`: never run. `active`: the last run succeeded."""

    CREATED = "created"
    RUNNING = "running"
    ACTIVE = "active"
    FAILED = "failed"

    @classmethod
    def after(cls, run: AnyRun | None, built_before: bool) -> "ProductStatus":
        """Return the status after the newest run. A cancelled run does not count: the
        product is active if an earlier run built its table."""
        match run.state if run else None:
            case None:
                return cls.CREATED
            case RunState.QUEUED | RunState.RUNNING:
                return cls.RUNNING
            case RunState.SUCCEEDED:
                return cls.ACTIVE
            case RunState.FAILED:
                return cls.FAILED
            case RunState.CANCELLED:
                return cls.ACTIVE if built_before else cls.CREATED
            case unknown:
                assert_never(unknown)


class ProductDoc(Definition):
    """`sql_query` is the client's text, `guarded_sql` the canonical SQL that passed the guard."""

    table_name: str
    schema_name: str
    description: str
    data_product_type: DataProductType
    owner: str
    consumers: tuple[str, ...]
    update_frequency: UpdateFrequency
    tags: tuple[str, ...]
    sql_query: str
    guarded_sql: str
    metadata: dict[str, Any]

    @property
    def table(self) -> str:
        return f"{self.schema_name}.{self.table_name}"
