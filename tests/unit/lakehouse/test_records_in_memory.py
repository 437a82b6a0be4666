"""Records in memory: the newest versions, by id and by key, and drafts of them."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from app.lakehouse.records.log import Row
from app.lakehouse.records.state import ParsedRow, Record, Records

NOW = datetime(2024, 1, 1, tzinfo=UTC)


class Doc(BaseModel):
    table: str


def parsed(
    id_: str, version: int, table: str | None, *, readable: bool = True, created: int = 0
) -> ParsedRow[Doc]:
    """`table` None stands for a deletion."""
    at = NOW + timedelta(seconds=created)
    op = "delete" if table is None else "put"
    row = Row(id_, version, op, at, "me", at, "me", "commit", 1, "{}")
    doc = Doc(table=table or "")
    record = Record(id_, version, at, "me", at, doc) if table and readable else None
    return ParsedRow(row, record)


@pytest.fixture
def records() -> Records[Doc]:
    found = Records[Doc](keys={"table": lambda doc: doc.table})
    for item in (parsed("a", 1, "one"), parsed("b", 1, "two"), parsed("c", 1, "three")):
        found.put(item)
    return found


def ids(found: object) -> list[str]:
    return sorted(record.id for record in found)  # type: ignore[attr-defined]


def test_an_older_version_changes_nothing(records: Records[Doc]) -> None:
    records.put(parsed("a", 3, "newer"))
    records.put(parsed("a", 2, "late"))
    assert records.version("a") == 3
    assert [ids(records.with_key("table", key)) for key in ("one", "late", "newer")] == [
        [],
        [],
        ["a"],
    ]


def test_a_deleted_record_keeps_its_version(records: Records[Doc]) -> None:
    records.put(parsed("a", 2, None))
    assert (records.get("a"), records.version("a"), records.is_deleted("a")) == (None, 2, True)
    assert ids(records) == ["b", "c"]
    assert records.with_key("table", "one") == []
    records.put(parsed("a", 3, "one", created=1))
    assert (records.is_deleted("a"), ids(records.with_key("table", "one"))) == (False, ["a"])


def test_a_version_that_cannot_be_read_leaves_the_older_one(records: Records[Doc]) -> None:
    records.put(parsed("a", 2, "unreadable", readable=False))
    assert records.version("a") == 2
    assert ids(records.with_key("table", "one")) == ["a"]
    records.put(parsed("a", 3, "another one", readable=False, created=1))
    assert (records.get("a"), records.with_key("table", "one")) == (None, [])


def test_a_draft_shows_its_changes_and_what_is_below(records: Records[Doc]) -> None:
    draft = records.draft()
    draft.put(parsed("a", 2, "moved"))
    draft.put(parsed("b", 2, None))
    draft.put(parsed("d", 1, "one"))
    assert ids(draft) == ["a", "c", "d"]
    keys = ("one", "moved", "two", "three")
    assert [ids(draft.with_key("table", key)) for key in keys] == [["d"], ["a"], [], ["c"]]
    assert (draft.version("a"), draft.version("c"), draft.is_deleted("b")) == (2, 1, True)
    # What is below does not change.
    assert ids(records) == ["a", "b", "c"]
    assert [ids(records.with_key("table", key)) for key in keys] == [["a"], [], ["b"], ["c"]]
    assert (records.version("a"), records.is_deleted("b")) == (1, False)


def test_records_come_newest_first(records: Records[Doc]) -> None:
    changes = (
        parsed("d", 1, "four", created=-1),
        parsed("b", 2, "changed"),
        parsed("a", 2, None),
        parsed("e", 1, "five", created=5),
        parsed("c", 2, None),
        parsed("c", 3, "again", created=3),
        parsed("d", 2, "unreadable", readable=False, created=-1),
    )
    for change in changes:
        records.put(change)
    assert [record.id for record in records.newest_first()] == ["e", "c", "b", "d"]
    assert [record.doc.table for record in records.newest_first()] == [
        "five",
        "again",
        "changed",
        "four",
    ]
    records.clear()
    assert records.newest_first() == []


@pytest.mark.parametrize("sort_from", [0, 1000])
def test_a_batch_gives_the_same_as_its_rows(
    monkeypatch: pytest.MonkeyPatch, sort_from: int
) -> None:
    rows = [
        parsed(id_, version, table, readable=readable, created=created)
        for version, created in ((1, 3), (2, 3), (3, 1))
        for id_, table, readable in (("a", "x", True), ("b", None, True), ("c", "y", version < 2))
    ]
    monkeypatch.setattr("app.ordered.SORT_FROM", sort_from)
    one_by_one, at_once = Records[Doc](), Records[Doc]()
    for row in rows:
        one_by_one.put(row)
    at_once.put_all(rows)
    assert at_once.newest_first() == one_by_one.newest_first()
    assert ids(at_once) == ["a"]
    at_once.put_all([parsed("d", 1, "z", created=-1), parsed("a", 4, None)])
    assert [record.id for record in at_once.newest_first()] == ["d"]
