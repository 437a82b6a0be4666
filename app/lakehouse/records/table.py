"""Records of one kind: an append-only Iceberg table, read from memory, never last-writer-wins."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from app.caller import Caller
from app.errors import Conflict, Gone, InvalidBody, NotFound, VersionMismatch
from app.lakehouse.records.log import RecordLog, Row, new_commit_id
from app.lakehouse.records.shared_log import SharedLog

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
log = structlog.get_logger()

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Record(Generic[M]):
    id: str
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    doc: M
    _derived: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False, compare=False)

    def derive(self, make: Callable[[M], T]) -> T:
        """Return `make(doc)`, made once: a version of a record never changes. Callers must not
        change it either."""
        if make not in self._derived:
            self._derived[make] = make(self.doc)
        made: T = self._derived[make]
        return made


Check = Callable[[Mapping[str, Record[M]]], None]
"""Sees the records that the write will be committed on, and nothing else. Raises to refuse."""


class RecordTable(Generic[M]):
    """Reads ask the catalog whether the table changed (about 4 ms), then come from memory."""

    def __init__(
        self, catalog: "Catalog", kind: str, model: type[M], namespace: str = "asgard"
    ) -> None:
        self.kind = kind
        self._model = model
        self._log = SharedLog(catalog, RecordLog(namespace, kind), self._apply)
        self._records: dict[str, Record[M]] = {}
        self._versions: dict[str, int] = {}
        self._deleted: set[str] = set()

    async def open(self) -> None:
        """Makes the table if there is none and reads it. Optional: first use does it too."""
        await self._log.refresh()

    async def get(self, record_id: str) -> Record[M] | None:
        await self._log.refresh()
        return self._records.get(record_id)

    async def all(self) -> list[Record[M]]:
        """Oldest first."""
        await self._log.refresh()
        return sorted(self._records.values(), key=lambda record: (record.created_at, record.id))

    async def insert(
        self,
        record_id: str,
        doc: M,
        created_by: str,
        check: Check[M] | None = None,
        *,
        again: bool = False,
    ) -> Record[M]:
        """Raises `Conflict` when the id exists, and whatever `check` raises; `Gone` when it was
        deleted, unless it may come back (`again`): an id that is met a second time is that of a
        request that is repeated."""

        def put(commit_id: str) -> Row:
            if record_id in self._records:
                raise Conflict(f"{self.kind} {record_id} exists already.", conflicting_id=record_id)
            if record_id in self._deleted and not again:
                raise Gone(
                    f"The {self.kind} record {record_id} that this request made was deleted since.",
                    hint="Send it with another Idempotency-Key to make a new one.",
                    deleted_id=record_id,
                )
            if check is not None:
                check(self._records)
            return self._row(commit_id, record_id, doc, created_by)

        return self._record(await self._write(put))

    async def update(
        self,
        record_id: str,
        change: Callable[[M], M],
        caller: Caller,
        expected_version: int | None = None,
        check: Check[M] | None = None,
    ) -> Record[M]:
        """Raises `NotFound`, `VersionMismatch`, and whatever `change` and `check` raise."""

        def put(commit_id: str) -> Row:
            former = self._current(record_id, expected_version)
            if check is not None:
                check(self._records)
            return self._row(commit_id, record_id, change(former.doc), caller.subject, former)

        return self._record(await self._write(put))

    async def delete(
        self,
        record_id: str,
        caller: Caller,
        expected_version: int | None = None,
        check: Check[M] | None = None,
    ) -> None:
        """A row like any other: what the record was stays in the table."""

        def remove(commit_id: str) -> Row:
            former = self._current(record_id, expected_version)
            if check is not None:
                check(self._records)
            return self._row(commit_id, record_id, former.doc, caller.subject, former, op="delete")

        await self._write(remove)

    async def _write(self, make: Callable[[str], Row]) -> Row:
        commit_id = new_commit_id()
        written: list[Row] = []

        def rows(news: Sequence[Row]) -> Sequence[Row]:
            written[:] = [row for row in news if row.commit_id == commit_id]
            if written:
                return ()
            written.append(make(commit_id))
            return written

        await self._log.write(commit_id, rows)
        return written[0]

    def _current(self, record_id: str, expected_version: int | None) -> Record[M]:
        current = self._records.get(record_id)
        if current is None:
            raise NotFound(f"There is no {self.kind} record {record_id}.")
        if expected_version is not None and current.version != expected_version:
            raise VersionMismatch(
                f"{self.kind} {record_id} is at version {current.version}, "
                f"not {expected_version}. Read it again.",
                current_version=current.version,
            )
        return current

    def _row(
        self,
        commit_id: str,
        record_id: str,
        doc: M,
        author: str,
        former: Record[M] | None = None,
        op: str = "put",
    ) -> Row:
        now = datetime.now(UTC)
        return Row(
            id=record_id,
            # An id that was deleted may come back: its versions go on, or the newest would lose.
            version=self._versions.get(record_id, 0) + 1,
            op=op,
            created_at=former.created_at if former else now,
            created_by=former.created_by if former else author,
            updated_at=now,
            updated_by=author,
            commit_id=commit_id,
            schema_version=SCHEMA_VERSION,
            doc=self._json(doc),
        )

    def _json(self, doc: M) -> str:
        """pydantic writes what it does not read (deep nesting): such a row would be lost."""
        try:
            text = doc.model_dump_json()
            self._model.model_validate_json(text)
        except (ValidationError, PydanticSerializationError):
            raise InvalidBody(
                f"This {self.kind} record cannot be stored as JSON: it is nested too deep, or has "
                "text or numbers that JSON does not have."
            ) from None
        return text

    def _record(self, row: Row) -> Record[M]:
        return Record(
            id=row.id,
            version=row.version,
            created_at=row.created_at,
            created_by=row.created_by,
            updated_at=row.updated_at,
            doc=self._model.model_validate_json(row.doc),
        )

    def _apply(self, rows: Sequence[Row], anew: bool) -> None:
        if anew:
            self._records.clear()
            self._versions.clear()
            self._deleted.clear()
        for row in rows:
            if self._versions.get(row.id, 0) >= row.version:
                continue
            self._versions[row.id] = row.version
            if row.op == "delete":
                self._records.pop(row.id, None)
                self._deleted.add(row.id)
            else:
                self._deleted.discard(row.id)
                self._put(row)

    def _put(self, row: Row) -> None:
        """A row that cannot be read must not keep the others from being read."""
        try:
            self._records[row.id] = self._record(row)
        except ValidationError as error:
            log.error(
                "record_unreadable",
                kind=self.kind,
                id=row.id,
                version=row.version,
                errors=[item["type"] for item in error.errors(include_url=False)][:5],
            )
