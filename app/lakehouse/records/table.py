"""Records of one kind in an append-only Iceberg table, read from memory. A lost race is an error,
never an overwrite."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import takewhile
from typing import TYPE_CHECKING, Generic

import structlog
from pydantic import ValidationError

from app.caller import Caller
from app.errors import Conflict, Gone, InvalidBody, NotFound, VersionMismatch
from app.lakehouse.records.log import RecordLog, Row, new_commit_id
from app.lakehouse.records.shared_log import SharedLog
from app.lakehouse.records.state import Keys, M, ParsedRow, Record, Records
from app.stored_json import stored_json

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog

log = structlog.get_logger()

SCHEMA_VERSION = 1


Check = Callable[[M, Records[M]], None]
"""Gets the new document, and exactly the records on which the write will be committed. Raises to
refuse the write."""


class RecordTable(Generic[M]):
    """Each read asks the catalog whether the table changed (about 4 ms), then uses memory."""

    def __init__(
        self,
        catalog: "Catalog",
        kind: str,
        model: type[M],
        namespace: str = "asgard",
        keys: Keys[M] | None = None,
    ) -> None:
        """`keys` are the indexes of `with_key`."""
        self.kind = kind
        self._model = model
        self._log = SharedLog(
            catalog, RecordLog(namespace, kind), self._parse, self._apply, self._begin
        )
        self._records = Records[M](keys)
        self._draft = self._records
        """The records as they are once the rows that were made before are committed."""

    async def open(self) -> None:
        """Create the table if it does not exist, and read it. Optional: the first use does the
        same."""
        await self._log.refresh()

    async def get(self, record_id: str) -> Record[M] | None:
        await self._log.refresh()
        return self._records.get(record_id)

    async def all(self) -> list[Record[M]]:
        """Return all records, oldest first."""
        return (await self.newest_first())[::-1]

    async def newest_first(self) -> list[Record[M]]:
        await self._log.refresh()
        return self._records.newest_first()

    async def with_key(self, name: str, key: str) -> list[Record[M]]:
        """Return the records whose document has this key in the index of this name."""
        await self._log.refresh()
        return self._records.with_key(name, key)

    async def insert(
        self,
        record_id: str,
        doc: M,
        created_by: str,
        check: Check[M] | None = None,
        *,
        again: bool = False,
    ) -> Record[M]:
        """Create a record. Raises `Conflict` if the id exists, `Gone` if it was deleted, and
        whatever `check` raises. A deleted id belongs to a repeated request. With `again`, it may be
        created again."""

        def put(commit_id: str) -> tuple[Row, M]:
            if self._draft.get(record_id) is not None:
                raise Conflict(f"{self.kind} {record_id} already exists.", conflicting_id=record_id)
            if self._draft.is_deleted(record_id) and not again:
                raise Gone(
                    f"The {self.kind} record {record_id} of this request has since been deleted.",
                    hint="Send the request with another Idempotency-Key to create a new one.",
                    deleted_id=record_id,
                )
            if check is not None:
                check(doc, self._draft)
            return self._row(commit_id, record_id, doc, created_by), doc

        return self._record(await self._write(put))

    async def update(
        self,
        record_id: str,
        change: Callable[[M], M],
        caller: Caller,
        expected_version: int | None = None,
        check: Check[M] | None = None,
    ) -> Record[M]:
        """Change a record. Raises `NotFound`, `VersionMismatch`, and whatever `change` and `check`
        raise."""

        def put(commit_id: str) -> tuple[Row, M]:
            previous = self._current(record_id, expected_version)
            doc = change(previous.doc)
            if check is not None:
                check(doc, self._draft)
            return self._row(commit_id, record_id, doc, caller.subject, previous), doc

        return self._record(await self._write(put))

    async def delete(
        self, record_id: str, caller: Caller, expected_version: int | None = None
    ) -> None:
        """Delete a record by appending a row. Its earlier versions stay in the table until
        compaction removes them."""

        def remove(commit_id: str) -> tuple[Row, M]:
            previous = self._current(record_id, expected_version)
            doc = previous.doc
            row = self._row(commit_id, record_id, doc, caller.subject, previous, op="delete")
            return row, doc

        await self._write(remove)

    async def _write(self, make: Callable[[str], tuple[Row, M]]) -> Row:
        commit_id = new_commit_id()
        attempts: list[Row] = []

        def rows(new_rows: Sequence[Row]) -> Sequence[Row]:
            committed = {row.version for row in new_rows if row.commit_id == commit_id}
            if committed:
                # The row that was read may have lost its document to a compaction.
                attempts[:] = [row for row in attempts if row.version in committed]
                return ()
            row, doc = make(commit_id)
            attempts.append(row)
            self._draft.put(ParsedRow(row, _with_doc(row, doc)))
            return [row]

        await self._log.write(commit_id, rows)
        return attempts[-1]

    def _current(self, record_id: str, expected_version: int | None) -> Record[M]:
        current = self._draft.get(record_id)
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
        previous: Record[M] | None = None,
        op: str = "put",
    ) -> Row:
        now = datetime.now(UTC)
        return Row(
            id=record_id,
            # A deleted id may be created again. Its versions continue, or the newest would lose.
            version=self._draft.version(record_id) + 1,
            op=op,
            created_at=previous.created_at if previous else now,
            created_by=previous.created_by if previous else author,
            updated_at=now,
            updated_by=author,
            commit_id=commit_id,
            schema_version=SCHEMA_VERSION,
            doc=self._json(doc),
        )

    def _json(self, doc: M) -> str:
        """Return the document as JSON. A row that could not be read again would be lost."""
        try:
            return stored_json(doc)
        except ValueError as error:
            raise InvalidBody(
                f"This {self.kind} record cannot be stored as JSON: {error}."
            ) from None

    def _record(self, row: Row) -> Record[M]:
        return _with_doc(row, self._model.model_validate_json(row.doc))

    def _begin(self) -> None:
        self._draft = self._records.draft()

    def _parse(self, rows: Sequence[Row], reset: bool) -> list[ParsedRow[M]]:
        """Parse the newest version of each record, or the newest that can be read."""
        versions: dict[str, list[Row]] = {}
        for row in rows:
            if reset or self._records.version(row.id) < row.version:
                versions.setdefault(row.id, []).append(row)
        return [
            self._newest(sorted(found, key=lambda row: row.version, reverse=True))
            for found in versions.values()
        ]

    def _newest(self, newest_first: Sequence[Row]) -> ParsedRow[M]:
        puts = takewhile(lambda row: row.op == "put", newest_first)
        return ParsedRow(newest_first[0], next(filter(None, map(self._read, puts)), None))

    def _read(self, row: Row) -> Record[M] | None:
        """Return the record, or None: one that cannot be read must not prevent reading others."""
        try:
            return self._record(row)
        except ValidationError as error:
            log.error(
                "record_unreadable",
                kind=self.kind,
                id=row.id,
                version=row.version,
                errors=[item["type"] for item in error.errors(include_url=False)][:5],
            )
            return None

    def _apply(self, parsed: Sequence[ParsedRow[M]], reset: bool) -> None:
        if reset:
            self._records.clear()
        self._records.put_all(parsed)


def _with_doc(row: Row, doc: M) -> Record[M]:
    return Record(
        id=row.id,
        version=row.version,
        created_at=row.created_at,
        created_by=row.created_by,
        updated_at=row.updated_at,
        doc=doc,
    )
