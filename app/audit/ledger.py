"""The Iceberg table `asgard.audit`. Its newest records are in memory."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from app.audit.record import AuditRecord
from app.lakehouse.records.log import RecordLog, Row, new_commit_id
from app.lakehouse.records.shared_log import SharedLog

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog

KIND = "audit"
EXTRA = ("method", "path", "address", "status", "outcome", "request_id", "run_id", "resource_id")
SCHEMA_VERSION = 1
MOST_IN_MEMORY = 20_000
"""Records in memory. Older ones are available through SQL."""
log = structlog.get_logger()


class AuditLedger:
    def __init__(self, catalog: "Catalog", namespace: str = "asgard") -> None:
        self._log = SharedLog(catalog, RecordLog(namespace, KIND, EXTRA), self._parse, self._apply)
        self._records: dict[str, AuditRecord] = {}

    async def refresh(self) -> None:
        """Read new rows. Raises `EngineUnreachable` while the catalog does not answer."""
        await self._log.refresh()

    def all(self) -> Iterable[AuditRecord]:
        return self._records.values()

    async def append(self, records: Sequence[AuditRecord]) -> None:
        """Append the records in one commit, except those that the table already has. After a
        replica died between its commit and the removal of its objects, they are appended again."""
        commit_id = new_commit_id()

        def rows(_: Sequence[Row]) -> Sequence[Row]:
            return [_row(item, commit_id) for item in records if item.id not in self._records]

        await self._log.write(commit_id, rows)

    def _parse(self, rows: Sequence[Row], reset: bool) -> list[AuditRecord]:
        known = () if reset else self._records
        records: list[AuditRecord] = []
        for row in sorted(rows, key=lambda row: row.created_at)[-MOST_IN_MEMORY:]:
            if row.id in known:
                continue
            try:
                records.append(AuditRecord.model_validate_json(row.doc))
            except ValidationError:
                log.error("audit_unreadable", id=row.id)
        return records

    def _apply(self, records: Sequence[AuditRecord], reset: bool) -> None:
        if reset:
            self._records.clear()
        self._records.update((item.id, item) for item in records)
        if len(self._records) > MOST_IN_MEMORY:
            self._records = {item.id: item for item in _newest(self._records.values())}


def _newest(records: Iterable[AuditRecord]) -> list[AuditRecord]:
    return sorted(records, key=lambda item: item.at)[-MOST_IN_MEMORY:]


def _row(item: AuditRecord, commit_id: str) -> Row:
    columns = {name: getattr(item, name) for name in EXTRA}
    return Row(
        id=item.id,
        version=1,
        op="put",
        created_at=item.at,
        created_by=item.subject,
        updated_at=item.at,
        updated_by=item.subject,
        commit_id=commit_id,
        schema_version=SCHEMA_VERSION,
        doc=item.model_dump_json(),
        extra={name: None if value is None else str(value) for name, value in columns.items()},
    )
