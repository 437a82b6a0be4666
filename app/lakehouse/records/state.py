"""The records of a table in memory, and a draft of them for each commit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from app.lakehouse.records.log import Row
from app.ordered import insert_all, remove

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
Keys = Mapping[str, Callable[[M], str]]
"""The names of indexes, and what each finds a document by."""


@dataclass(frozen=True)
class Record(Generic[M]):
    id: str
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    doc: M
    _derived: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False, compare=False)

    def derive(self, make: "Callable[[Record[M]], T]") -> T:
        """Return `make(record)`, made once: a version of a record never changes. Callers must not
        change it either."""
        if make not in self._derived:
            self._derived[make] = make(self)
        made: T = self._derived[make]
        return made


@dataclass(frozen=True)
class ParsedRow(Generic[M]):
    """`record` is None for a deletion, and if no version can be read."""

    row: Row
    record: Record[M] | None


@dataclass(frozen=True, slots=True)
class Entry(Generic[M]):
    """The newest known version of an id. `record` is None if it was deleted or cannot be read."""

    version: int
    record: Record[M] | None
    is_deleted: bool


class Records(Generic[M]):
    """The newest version of each record, by id, by `keys` and by age. A draft holds only what
    differs from the records `below` it, which do not change while it is used."""

    def __init__(self, keys: Keys[M] | None = None, below: "Records[M] | None" = None) -> None:
        self._keys = keys or {}
        self._below = below
        self._entries: dict[str, Entry[M]] = {}
        self._ids: dict[tuple[str, str], set[str]] = {}
        self._by_age: list[Record[M]] = []

    def draft(self) -> "Records[M]":
        return Records(self._keys, below=self)

    def clear(self) -> None:
        self._entries.clear()
        self._ids.clear()
        self._by_age.clear()

    def get(self, record_id: str) -> Record[M] | None:
        entry = self._entry(record_id)
        return entry.record if entry else None

    def version(self, record_id: str) -> int:
        """Return the newest version, of a deleted record too, and 0 for an unknown id."""
        entry = self._entry(record_id)
        return entry.version if entry else 0

    def is_deleted(self, record_id: str) -> bool:
        entry = self._entry(record_id)
        return entry is not None and entry.is_deleted

    def __iter__(self) -> Iterator[Record[M]]:
        for entry in self._entries.values():
            if entry.record is not None:
                yield entry.record
        if self._below is not None:
            yield from (record for record in self._below if record.id not in self._entries)

    def newest_first(self) -> list[Record[M]]:
        """Return the records without those below."""
        return self._by_age[::-1]

    def with_key(self, name: str, key: str) -> list[Record[M]]:
        """Return the records whose document has this key in the index of this name."""
        key_of = self._keys[name]
        found = filter(None, map(self.get, self._ids_of(name, key)))
        # The ids below a draft may be those of records that it changes.
        return [record for record in found if key_of(record.doc) == key]

    def put(self, item: ParsedRow[M]) -> None:
        """Take the row unless a newer version of its record is here."""
        self.put_all([item])

    def put_all(self, items: Sequence[ParsedRow[M]]) -> None:
        """Take the rows as `put` does. If one raises, those before it are taken."""
        added: dict[str, Record[M]] = {}
        try:
            for item in items:
                older, record = self._put(item)
                if self._below is not None:
                    continue  # A draft has no order.
                if older is not None and added.pop(older.id, None) is None:
                    remove(self._by_age, older, _age)
                if record is not None:
                    added[record.id] = record
        finally:
            insert_all(self._by_age, list(added.values()), _age)

    def _put(self, item: ParsedRow[M]) -> tuple[Record[M] | None, Record[M] | None]:
        """Return the record that was here, and the one that is."""
        row = item.row
        if row.version <= self.version(row.id):
            return None, None
        older = self.get(row.id)
        record = None
        if row.op == "put":
            # A version that cannot be read leaves the older one, unless that was deleted since.
            is_same = older is not None and older.created_at == row.created_at
            record = item.record or (older if is_same else None)
        self._entries[row.id] = Entry(row.version, record, row.op == "delete")
        self._index(older, record)
        return older, record

    def _entry(self, record_id: str) -> Entry[M] | None:
        entry = self._entries.get(record_id)
        if entry is None and self._below is not None:
            return self._below._entry(record_id)
        return entry

    def _ids_of(self, name: str, key: str) -> set[str]:
        below = self._below._ids_of(name, key) if self._below is not None else set()
        return below | self._ids.get((name, key), set())

    def _index(self, older: Record[M] | None, record: Record[M] | None) -> None:
        for name, key_of in self._keys.items():
            if older is not None and (ids := self._ids.get((name, key_of(older.doc)))):
                ids.discard(older.id)
                if not ids:
                    del self._ids[name, key_of(older.doc)]
            if record is not None:
                self._ids.setdefault((name, key_of(record.doc)), set()).add(record.id)


def _age(record: Record[M]) -> tuple[datetime, str]:
    return record.created_at, record.id
