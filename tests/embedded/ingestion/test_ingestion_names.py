"""Names from a source are text: in a CSV header, and of a connector's columns and JSON keys."""

import csv
import io
import json
from typing import Any
from uuid import uuid4

import pytest

from app.airbyte.local.bronze_types import unique_names
from app.failure import FailureCause
from app.runs.model import RunState
from tests.harnesses.ingestion import (
    IngestionHarness,
    make,
)
from tests.payloads import CANARY, PAYLOADS

TOYS = ("n", "at", "odd", "inner")


def written(names: tuple[str, ...], rows: int, newline: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    writer.writerows([f"{row}-{number}" for number in range(len(names))] for row in range(rows))
    return text.getvalue()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
async def test_every_name_in_a_header_arrives_with_its_rows(
    local_harness: IngestionHarness, newline: str
) -> None:
    harness, name = local_harness, f"header_{uuid4().hex[:8]}"
    path, run = await harness.ingest(f"{name}.csv", written(PAYLOADS, 3, newline).encode())
    assert run.state is RunState.SUCCEEDED, run.failure
    assert await harness.columns(path) == list(unique_names(PAYLOADS))
    rows = [tuple(f"{row}-{n}" for n in range(len(PAYLOADS))) for row in range(3)]
    assert await harness.rows(path) == rows


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ('"a\nb",c\n1,2\n3,4\n', ["a\nb", "c"]),
        ('c,"a\nb"\n1,2\n3,4\n', ["c", "a\nb"]),
        ('"a\r\nb",c\r\n1,2\r\n3,4\r\n', ["a\r\nb", "c"]),
        ('"a\nb",c\r1,2\r3,4\r', ["a\nb", "c"]),
        ('"a\rb",c\n1,2\n3,4\n', ["a\rb", "c"]),
        ('\ufeff"a\nb",c\n1,2\n3,4\n', ["a\nb", "c"]),
        ('\ufeff"a",c\n1,2\n3,4\n', ["a", "c"]),
        ('"a;\n;;b",c\n1,2\n3,4\n', ["a;\n;;b", "c"]),
        ('"a""\n""b",c\n1,2\n3,4\n', ['a"\n"b', "c"]),
        ('a" inch,c\n1,2\n3,4\n', ['a" inch', "c"]),
    ],
)
async def test_a_header_with_line_breaks_loses_no_row(
    local_harness: IngestionHarness, text: str, columns: list[str]
) -> None:
    harness = local_harness
    path, run = await harness.ingest(f"breaks_{uuid4().hex[:8]}.csv", text.encode())
    assert run.state is RunState.SUCCEEDED, run.failure
    assert run.output is not None
    assert [(s.rows, s.broken_rows) for s in run.output.streams] == [(2, 0)]
    assert await harness.columns(path) == columns
    assert await harness.rows(path) == [("1", "2"), ("3", "4")]


@pytest.mark.parametrize("text", ['"a,b\n1,2\n3,4\n', 'a,"b\n' + "1,2\n" * 1000, '"' + "a" * 2**21])
async def test_a_header_that_does_not_end_fails_the_run(
    local_harness: IngestionHarness, text: str
) -> None:
    name = f"open_{uuid4().hex[:8]}.csv"
    _, run = await local_harness.ingest(name, text.encode())
    assert run.state is RunState.FAILED
    assert run.failure is not None
    assert run.failure.cause is FailureCause.TABLE_NOT_FOUND
    expected = f"{name} has no valid header: a quote is not closed, or not where a name begins."
    assert run.failure.message == expected


async def test_the_names_of_a_connector_s_columns_and_keys_arrive(
    harness: IngestionHarness,
) -> None:
    numbered: dict[str, Any] = {name: number for number, name in enumerate(PAYLOADS)}
    toy = await make(harness, rows=1, columns=list(PAYLOADS))
    streams = await harness.service.streams(toy.ingestion.source_id)
    assert [column.name for column in streams[0].columns] == [*TOYS, *PAYLOADS]
    run = await toy.sync()
    assert run.state is RunState.SUCCEEDED, run.failure
    names = list(unique_names(PAYLOADS)) if harness.airbyte is None else list(PAYLOADS)
    assert await harness.columns(toy.path) == [*TOYS, *names]
    (row,) = await harness.rows(toy.path)
    assert list(row[len(TOYS) :]) == list(numbered.values())
    if harness.airbyte is None:
        assert json.loads(row[TOYS.index("inner")]) == numbered
    assert CANARY not in f"{run.model_dump_json()} {await harness.runs.logs(run.run_id)}"
