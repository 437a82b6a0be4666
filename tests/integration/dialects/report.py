"""`docs/dialects.md`: every case, and where the embedded engine answers otherwise."""

from collections.abc import Sequence
from pathlib import Path

from tests.integration.dialects.answers import Answer
from tests.integration.dialects.cases import CASES, ROWS

DOCUMENT = Path(__file__).parents[3] / "docs" / "dialects.md"
INTRODUCTION = f"""# What the embedded engines answer, beside the production ones

Every statement below was run over the same five rows, after Asgard's guard and rewriting, by the
engine that a laptop runs and by the one that production runs. `tests/integration/dialects` does it
anew with every integration stage and fails when an answer here is no longer true.

```sql
WITH data AS (SELECT * FROM (VALUES {ROWS}) AS v (id, name, price, day, at, ratio, flag, doc))
```

Spark SQL runs in ANSI mode on both engines: a value that cannot be read, a division by zero or an
index beyond the end is an error, never a null that nobody asked for. `TRY_CAST`, `try_divide` and
`NULLIF` say that a null is wanted.

DuckDB divides and averages decimals as doubles, of which 15 digits count; the rewriting rounds them
to the scale that Trino gives, halves away from zero. A quotient with more digits before its point
than either decimal, and more than ten, fails. `AT TIME ZONE` gives the moment where it is a column
of the result and the zone's wall clock inside of a query; compared with anything it is refused.
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
    for case, mine, theirs in zip(CASES, *pair, strict=True):
        sql = _cell((dialect == "spark" and case.spark) or case.trino)
        why = case.sail_differs if dialect == "spark" else case.duckdb_differs
        if why:
            other.append(f"| `{sql}` | {_cell(str(mine))} | {_cell(str(theirs))} | {why} |")
        else:
            same.append(f"| {case.topic} | `{sql}` | {_cell(str(theirs))} |")
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
