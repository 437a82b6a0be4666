"""Follows column names of files and queries to gold, over HTTP: a name stays a text."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.api_calls import created, rows, succeed
from tests.conftest import Lakehouse
from tests.payloads import PAYLOADS

NUMBERED = {text: number for number, text in enumerate(PAYLOADS)}
TOTAL = "SELECT *, sum(1) OVER () AS total FROM silver.{}"
"""The sum is wider than any column of a table, so dbt casts every column, by its name."""


def in_csv(row: dict[str, Any]) -> dict[str, Any]:
    """A header is one line, and all values are texts."""
    return {name: str(value) for name, value in row.items() if "\n" not in name}


def csv_file() -> bytes:
    file = io.StringIO()
    row = in_csv(NUMBERED)
    csv.writer(file).writerows([row.keys(), row.values()])
    return file.getvalue().encode()


def parquet_file() -> bytes:
    file = io.BytesIO()
    given = {**{text: [n] for text, n in NUMBERED.items()}, "fields": [NUMBERED]}
    pq.write_table(pa.table(given), file)
    return file.getvalue()


def in_parquet(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "fields": row}


FILES: dict[str, tuple[Callable[[], bytes], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "csv": (csv_file, in_csv),
    "jsonl": (lambda: json.dumps(NUMBERED).encode(), lambda row: row),
    "parquet": (parquet_file, in_parquet),
}


@pytest.mark.parametrize("format_", FILES)
async def test_a_files_names_arrive_in_gold(
    client: httpx.AsyncClient, lakehouse: Lakehouse, format_: str
) -> None:
    write, shown = FILES[format_]
    name = f"text_{format_}_{uuid4().hex[:8]}"
    path = await ingested(client, lakehouse, f"{name}.{format_}", write())
    sql = "SELECT * FROM source_data"
    await succeed(client, sql, source_path=path, destination_table=name)
    gold = await transformed(client, lakehouse, name)
    stripped = {name.strip(): value for name, value in shown(NUMBERED).items()}
    assert {k: v for k, v in gold.items() if not k.startswith("_airbyte_")} == stripped


async def test_the_aliases_of_spark_sql_arrive_in_gold(
    client: httpx.AsyncClient, lakehouse: Lakehouse
) -> None:
    name = f"text_alias_{uuid4().hex[:8]}"
    # Spark would read the start of a variable, so that the guard refuses it.
    numbered = {text: n for text, n in NUMBERED.items() if "${" not in text}
    assert len(numbered) == len(NUMBERED) - 1
    aliases = (f"{n} AS `{text.replace('`', '``')}`" for text, n in numbered.items())
    await succeed(client, f"SELECT {', '.join(aliases)}", destination_table=name)
    assert await transformed(client, lakehouse, name) == numbered


async def ingested(
    client: httpx.AsyncClient, lakehouse: Lakehouse, file: str, content: bytes
) -> str:
    """The path in bronze."""
    (lakehouse.home / "data").mkdir(exist_ok=True)
    (lakehouse.home / "data" / file).write_bytes(content)
    source = await created(client, "datasource", name=file, type="file", config={"url": file})
    sink = await created(client, "sink", name="lake", type="s3")
    body = {"name": file, "sourceId": source["id"], "destinationId": sink["id"]}
    ingestion = await created(client, "ingestion", **body)
    run = await client.post(f"/airbyte/ingestion/{ingestion['connectionId']}/sync")
    assert run.json()["state"] == "succeeded", run.text
    path: str = ingestion["streams"][0]["path"]
    return path


async def transformed(client: httpx.AsyncClient, lakehouse: Lakehouse, name: str) -> dict[str, Any]:
    body = {"name": name, "sql_query": TOTAL.format(name)}
    answer = await client.post("/dbt/transform", params={"wait_seconds": 60}, json=body)
    assert answer.json().get("status") == "completed", answer.text
    [row] = await rows(lakehouse, f"gold.{name}")
    assert row.pop("total") == 1
    return row
