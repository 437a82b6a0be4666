"""Compares the demo's figures with DuckDB's, computed from the raw CSV files alone.

It shares no code with the gateway. It reads the raw files, the facts (what the API answered) and
the tables as they lie in the lake, with pyiceberg; it exits with 0 when all agree, else with 1.
"""

import argparse
import json
import math
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
from pyiceberg.catalog import Catalog, load_catalog
from rich.console import Console
from rich.table import Table

WIDTH = 120
"""Characters of a line where the output is no terminal."""
RAW = ("flights", "airlines", "airports", "planes", "weather")
INTEGERS = (
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "arr_delay",
    "flight",
    "air_time",
    "distance",
)
TEXTS = ("carrier", "tailnum", "origin", "dest")

FLIGHTS = f"""
CREATE TABLE flights AS SELECT DISTINCT
  make_date(year::INT, month::INT, day::INT) AS scheduled_on,
  {", ".join(f"TRY_CAST(nullif({c}, 'NA') AS INTEGER) AS {c}" for c in INTEGERS)},
  {", ".join(f"nullif({c}, 'NA') AS {c}" for c in TEXTS)}
FROM raw_flights"""

ENRICHED = """
CREATE TABLE flights_enriched AS
SELECT f.scheduled_on, f.sched_dep_time, f.carrier, f.flight, f.tailnum, f.origin, f.dest,
  f.dep_delay, f.arr_delay, f.distance, a.name AS airline, o.name AS origin_airport,
  d.name AS dest_airport, p.manufacturer, p.built_in, p.seats
FROM flights f
LEFT JOIN (SELECT DISTINCT carrier, name FROM raw_airlines) a USING (carrier)
LEFT JOIN (SELECT DISTINCT faa, name FROM raw_airports) o ON o.faa = f.origin
LEFT JOIN (SELECT DISTINCT faa, name FROM raw_airports) d ON d.faa = f.dest
LEFT JOIN (SELECT DISTINCT tailnum, nullif(manufacturer, 'NA') AS manufacturer,
             TRY_CAST(nullif(year, 'NA') AS INTEGER) AS built_in,
             TRY_CAST(nullif(seats, 'NA') AS INTEGER) AS seats FROM raw_planes) p
  ON p.tailnum = f.tailnum"""

CARRIER_DELAYS = """
CREATE TABLE carrier_delays AS SELECT carrier, count(*) AS flights,
  count(*) - count(dep_delay) AS cancelled,
  count(*) FILTER (arr_delay <= 15) AS punctual,
  sum(arr_delay)::BIGINT AS total_arrival_delay,
  sum(arr_delay) / count(arr_delay) AS average_arrival_delay,
  count(*) FILTER (arr_delay <= 15) / nullif(count(arr_delay), 0) AS punctual_share
FROM flights GROUP BY ALL"""

WORST_ROUTES = """
CREATE TABLE worst_routes AS
SELECT origin, dest, count(*) AS flights, sum(arr_delay) / count(arr_delay) AS average_delay
FROM flights GROUP BY origin, dest
HAVING count(*) >= 100 AND sum(arr_delay) / count(arr_delay) > 10"""

DAILY_FIRST = """
CREATE TABLE daily_first AS SELECT scheduled_on, origin, count(dep_time) AS flights,
  sum(dep_delay)::BIGINT AS total_delay
FROM flights WHERE month(scheduled_on) <= 6 GROUP BY scheduled_on, origin"""

# January to May as the first run left them, the rest as the second run has it.
DAILY_DEPARTURES = """
CREATE TABLE daily_departures AS
SELECT * FROM daily_first WHERE month(scheduled_on) < 6
UNION ALL
SELECT scheduled_on, origin, count(*), sum(dep_delay)::BIGINT FROM flights
WHERE month(scheduled_on) >= 6 GROUP BY scheduled_on, origin"""

PRODUCT = """
CREATE TABLE product AS
SELECT d.carrier, h.airline, d.flights, d.cancelled, h.on_worst_routes,
  d.punctual_share AS punctual, d.average_arrival_delay AS delay
FROM carrier_delays d JOIN (
  SELECT e.carrier, max(e.airline) AS airline, count(w.origin) AS on_worst_routes
  FROM flights_enriched e LEFT JOIN worst_routes w ON (w.origin, w.dest) = (e.origin, e.dest)
  GROUP BY e.carrier) h USING (carrier)"""

SILVER = ("flights", "flights_enriched")
GOLD_KEYS = {"carrier_delays": ("carrier",), "daily_departures": ("scheduled_on", "origin")}
UPSTREAM = {
    "gold.carrier_delays",
    "gold.worst_routes",
    "silver.flights",
    "silver.flights_enriched",
    "source:nyc-flights-2013",
}


@dataclass(frozen=True)
class Figure:
    name: str
    expected: Any
    actual: Any

    @property
    def agrees(self) -> bool:
        return alike(self.expected, self.actual)


def alike(expected: Any, actual: Any) -> bool:
    if isinstance(expected, float) and isinstance(actual, int | float):
        return math.isclose(expected, actual, rel_tol=1e-9, abs_tol=1e-12)
    return bool(expected == actual)


class Check:
    def __init__(self, raw: Path, home: Path, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.figures: list[Figure] = []
        self.lake = open_lake(home)
        self.duckdb = duckdb.connect()
        with tempfile.TemporaryDirectory() as directory:
            load_raw(self.duckdb, raw, Path(directory))
        for sql in (
            FLIGHTS,
            ENRICHED,
            CARRIER_DELAYS,
            WORST_ROUTES,
            DAILY_FIRST,
            DAILY_DEPARTURES,
            PRODUCT,
        ):
            self.duckdb.execute(sql)

    def run(self) -> list[Figure]:
        self.bronze()
        for table in SILVER:
            self.silver(table)
        self.gold()
        self.product()
        return self.figures

    def expect(self, name: str, expected: Any, actual: Any) -> None:
        self.figures.append(Figure(name, expected, actual))

    def one(self, sql: str) -> Any:
        return self.rows(sql)[0][0]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.duckdb.execute(sql).fetchall()

    def load(self, table: str) -> str:
        """The table as it lies in the lake, under a name of DuckDB's own."""
        name = "lake_" + table.replace(".", "_")
        self.duckdb.register(name, self.lake.load_table(table).scan().to_arrow())
        return name

    def bronze(self) -> None:
        rows = self.facts["bronze"]
        for table in RAW:
            expected = self.one(f"SELECT count(*) FROM raw_{table}")
            self.expect(f"bronze {table}: rows", expected, rows.get(table))
        self.expect("bronze users: rows", self.facts["users"], rows.get("users"))

    def silver(self, table: str) -> None:
        """Rows, then per column the nulls and the sum of its hash: every value counts."""
        lake = self.load(f"silver.{table}")
        rows = self.one(f"SELECT count(*) FROM {table}")
        self.expect(f"silver {table}: rows (answered)", rows, self.facts["silver"][table])
        self.expect(f"silver {table}: rows", rows, self.one(f"SELECT count(*) FROM {lake}"))
        for column, type_, *_ in self.rows(f"DESCRIBE {table}"):
            nulls = f"SELECT count(*) - count({column}) FROM "
            self.expect(
                f"silver {table}.{column}: nulls", self.one(nulls + table), self.one(nulls + lake)
            )
            if type_ == "INTEGER":
                total = f"SELECT sum({column})::BIGINT FROM "
                self.expect(
                    f"silver {table}.{column}: sum", self.one(total + table), self.one(total + lake)
                )
        self.differences(f"silver {table}", table, lake)

    def differences(self, name: str, expected: str, actual: str) -> None:
        """Rows, counted with their doubles, that only one side has."""
        columns = ", ".join(
            f"{row[0]}::{row[1]} AS {row[0]}" for row in self.rows(f"DESCRIBE {expected}")
        )
        only = "SELECT count(*) FROM (SELECT {0} FROM {1} EXCEPT ALL SELECT {0} FROM {2})"
        self.expect(f"{name}: rows missing", 0, self.one(only.format(columns, expected, actual)))
        self.expect(f"{name}: rows too many", 0, self.one(only.format(columns, actual, expected)))

    def gold(self) -> None:
        facts = self.facts["gold"]
        counts = {
            "carrier_delays": "carrier_delays",
            "daily_departures, first run": "daily_first",
            "daily_departures, second run": "daily_departures",
        }
        for name, table in counts.items():
            expected = self.one(f"SELECT count(*) FROM {table}")
            self.expect(f"gold {name}: rows (answered)", expected, facts[name])
        if facts["worst_routes"] is not None:
            expected = self.one("SELECT count(*) FROM worst_routes")
            self.expect("gold worst_routes: rows (answered)", expected, facts["worst_routes"])
        for table, key in GOLD_KEYS.items():
            lake = self.load(f"gold.{table}")
            self.same_rows(f"gold {table}", table, lake, key)
            keys = self.one(f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(key)} FROM {lake})")
            self.expect(
                f"gold {table}: different keys", self.one(f"SELECT count(*) FROM {table}"), keys
            )

    def product(self) -> None:
        facts = self.facts["product"]
        lake = self.load("gold.dp_carrier_punctuality_360")
        rows = self.one("SELECT count(*) FROM product")
        self.expect("product: rows (run)", rows, facts["run rows"])
        self.expect("product: rows (stats)", rows, facts["stats rows"])
        self.expect("product: rows (preview)", min(rows, 100), len(facts["rows"]))
        self.same_rows("product", "product", lake, ("carrier",))
        self.duckdb.register("preview", as_table(facts["columns"], facts["rows"]))
        if rows <= 100:
            self.same_rows("product, as previewed", "product", "preview", ("carrier",))
        ids = self.rows(f"SELECT DISTINCT data_product_id FROM {lake}")
        self.expect("product: ids in its rows", facts["id"], ", ".join(row[0] for row in ids))
        bronze = {f"source:{name}" for name in ("faker-users",)}
        upstream = set(facts["upstream"])
        self.expect("lineage: what must be upstream", [], sorted(UPSTREAM - upstream))
        self.expect("lineage: what must not be", [], sorted(bronze & upstream))

    def same_rows(self, name: str, expected: str, actual: str, key: tuple[str, ...]) -> None:
        """Value by value; floating point numbers may differ in their last digits."""
        columns = [row[0] for row in self.rows(f"DESCRIBE {expected}")]
        chosen = f"SELECT {', '.join(columns)} FROM"
        order = f"ORDER BY {', '.join(key)}"
        left, right = (
            self.rows(f"{chosen} {expected} {order}"),
            self.rows(f"{chosen} {actual} {order}"),
        )
        self.expect(f"{name}: rows", len(left), len(right))
        different = [
            (columns[place], row[place], other[place])
            for row, other in zip(left, right, strict=False)
            for place in range(len(columns))
            if not alike(row[place], other[place])
        ]
        self.expect(f"{name}: values that differ, of {len(left) * len(columns)}", [], different[:3])


def as_table(columns: list[str], rows: list[list[Any]]) -> pyarrow.Table:
    return pyarrow.table({name: [row[place] for row in rows] for place, name in enumerate(columns)})


def load_raw(connection: duckdb.DuckDBPyConnection, raw: Path, scratch: Path) -> None:
    for name in RAW:
        path = raw / f"{name}.csv"
        if not path.exists():
            with zipfile.ZipFile(raw / f"{name}.csv.zip") as archive:
                path = Path(archive.extract(f"{name}.csv", scratch))
        connection.execute(
            f"CREATE TABLE raw_{name} AS FROM read_csv($1, all_varchar = true, header = true)",
            [str(path)],
        )


def open_lake(home: Path) -> Catalog:
    shared = json.loads((home / "lakehouse.json").read_text())
    rest = f"http://127.0.0.1:{shared['ports']['s3.port.iceberg']}"
    keys = shared["access_key"], shared["secret_key"]
    return load_catalog(
        "lake",
        **{
            "type": "rest",
            "uri": rest,
            "warehouse": "warehouse",
            "credential": ":".join(keys),
            "oauth2-server-uri": f"{rest}/v1/oauth/tokens",
            "s3.endpoint": f"http://127.0.0.1:{shared['ports']['s3.port']}",
            "s3.access-key-id": keys[0],
            "s3.secret-access-key": keys[1],
            "s3.path-style-access": "true",
            "s3.region": "us-east-1",
        },
    )


def show(figures: list[Figure], console: Console) -> None:
    table = Table(title="Computed by DuckDB from the raw files, and found", title_justify="left")
    for heading in ("figure", "expected", "found", ""):
        table.add_column(heading, justify="right" if heading in {"expected", "found"} else "left")
    for figure in figures:
        mark = "[green]same[/]" if figure.agrees else "[bold red]DIFFERS[/]"
        table.add_row(figure.name, shown(figure.expected), shown(figure.actual), mark)
    console.print(table)
    wrong = sum(not figure.agrees for figure in figures)
    console.print(f"{len(figures)} figures, {wrong} differ.")


def shown(value: Any) -> str:
    if value == []:
        return "none"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--raw", type=Path, required=True, help="the folder of the CSV files")
    options.add_argument("--home", type=Path, required=True, help="the gateway's ASGARD_HOME")
    options.add_argument("--facts", type=Path, required=True, help="the API's responses, as JSON")
    given = options.parse_args()
    figures = Check(given.raw, given.home, json.loads(given.facts.read_text())).run()
    console = Console(highlight=False)
    show(figures, console if console.is_terminal else Console(highlight=False, width=WIDTH))
    return 0 if figures and all(figure.agrees for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
