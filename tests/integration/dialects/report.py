"""Renders `docs/dialects.md`: every case, and where the embedded engine's answer differs."""

from collections.abc import Sequence
from pathlib import Path

from tests.integration.dialects.answers import Answer
from tests.integration.dialects.cases import CASES, ROWS

DOCUMENT = Path(__file__).parents[3] / "docs" / "dialects.md"
INTRODUCTION = f"""# SQL dialects: embedded and production engines compared

Every statement below was run over the same five rows, after Asgard's guard and rewriting, by the
engine that a laptop runs and by the one that production runs. `tests/integration/dialects` does it
again with every integration stage and fails when an answer here is no longer true.

```sql
WITH data AS (SELECT * FROM (VALUES {ROWS}) AS v (id, name, price, day, at, ratio, flag, doc))
```

Spark SQL runs in ANSI mode on both engines: a value that cannot be read, a division by zero or an
index beyond the end is an error, never an unrequested null. `TRY_CAST`, `try_divide` and `NULLIF`
request a null explicitly.

DuckDB divides and averages decimals as doubles, with 15 significant digits. The rewriting rounds
them to the scale that Trino gives, halves away from zero. A quotient with more digits before its
point than either decimal, and more than ten, fails. `AT TIME ZONE` gives the instant as a column of
the result and the zone's wall clock inside a query. In a comparison it is refused.
"""

Pair = tuple[Sequence[Answer], Sequence[Answer]]


def document(duckdb_and_trino: Pair, sail_and_spark: Pair) -> str:
    return "\n".join(
        [
            INTRODUCTION,
            *_section("DuckDB beside Trino 476", "trino", duckdb_and_trino),
            *_section("Sail beside Spark 3.5", "spark", sail_and_spark),
        ]
    )


def _section(title: str, dialect: str, pair: Pair) -> list[str]:
    embedded, production = title.split(" beside ")
    same, other = [], []
    for case, answer, reference in zip(CASES, *pair, strict=True):
        sql = _cell((dialect == "spark" and case.spark) or case.trino)
        reason = case.sail_differs if dialect == "spark" else case.duckdb_differs
        if reason:
            other.append(f"| `{sql}` | {_cell(str(answer))} | {_cell(str(reference))} | {reason} |")
        else:
            same.append(f"| {case.topic} | `{sql}` | {_cell(str(reference))} |")
    return [
        f"## {title}",
        "",
        f"{len(same)} statements are answered alike, {len(other)} are not:",
        "",
        f"| statement | {embedded} | {production} | why |",
        "|---|---|---|---|",
        *other,
        "",
        "Alike:",
        "",
        "| topic | statement | answer of both |",
        "|---|---|---|",
        *same,
        "",
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
