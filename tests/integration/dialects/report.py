"""Renders `docs/dialects.md`: every case, and where the embedded engine's answer differs."""

from collections.abc import Sequence
from pathlib import Path

from tests.integration.dialects.answers import Answer
from tests.integration.dialects.cases import CASES, ROWS

DOCUMENT = Path(__file__).parents[3] / "docs" / "dialects.md"
INTRODUCTION = f"""# SQL dialects: embedded and production engines compared

Every statement below was run over the same five rows, after Asgard's guard and rewriting, by the
engine that a laptop runs and by the one that production runs. `tests/integration/dialects` runs
them again in every integration stage, and fails if a result differs from this page.

```sql
WITH data AS (SELECT * FROM (VALUES {ROWS}) AS v (id, name, price, day, at, ratio, flag, doc))
```

Spark SQL runs in ANSI mode on both engines: a value that cannot be read, a division by zero or an
index beyond the end is an error, never a null that nobody requested. `TRY_CAST`, `try_divide` and
`NULLIF` request a null explicitly.

DuckDB divides and averages decimals as doubles, with 15 significant digits. Asgard's rewriting
rounds the results to the scale that Trino returns, and rounds halves away from zero. A quotient
with more digits before its decimal point than either operand, and with more than ten, fails.

Only Trino keeps the zone of a time, for example of the value of `AT TIME ZONE`. DuckDB uses the
instant in comparisons and as a column of the result, and the zone's wall clock in `hour`,
`date_format`, `CAST(… AS DATE)` and similar functions. `date_trunc` starts at the beginning of the
unit in the zone. Asgard refuses it everywhere else: as text, in `coalesce` or `max`, and as a
column of a subquery or view that the query goes on to read.

A timestamp becomes a text with six digits after the point, as the columns of the lake have them.
DuckDB takes NaN for equal to itself and greater than every number, also in `max` and `greatest`.
In its patterns, `$` does not match before a newline at the end. It refuses JSON paths other than
`$.a`, `$.a[0]` and `$["a b"]`, groups of `regexp_extract` that a match may leave out, and
`SELECT *` over joins with `USING` if the columns of each table are not known.
"""

Pair = tuple[Sequence[Answer], Sequence[Answer]]


def document(duckdb_and_trino: Pair, sail_and_spark: Pair) -> str:
    return "\n".join(
        [
            INTRODUCTION,
            *_section("DuckDB compared with Trino 476", "trino", duckdb_and_trino),
            *_section("Sail compared with Spark 3.5", "spark", sail_and_spark),
        ]
    )


def _section(title: str, dialect: str, pair: Pair) -> list[str]:
    embedded, production = title.split(" compared with ")
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
        f"{len(same)} statements have the same result, {len(other)} do not:",
        "",
        f"| statement | {embedded} | {production} | why |",
        "|---|---|---|---|",
        *other,
        "",
        "The same result:",
        "",
        "| topic | statement | result of both |",
        "|---|---|---|",
        *same,
        "",
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
