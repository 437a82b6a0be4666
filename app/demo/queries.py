"""The SQL that the demo sends: Spark's dialect for silver, Trino's for gold."""
# ruff: noqa: S608 — the parts of the queries are the demo's own

_INTEGERS = (
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
_TEXTS = ("carrier", "tailnum", "origin", "dest")


def _text(column: str) -> str:
    return f"nullif(cast({column} AS string), 'NA')"


_TYPED = ",\n  ".join(
    [f"try_cast({_text(name)} AS int) AS {name}" for name in _INTEGERS]
    + [f"{_text(name)} AS {name}" for name in _TEXTS]
)

SILVER_FLIGHTS = f"""
SELECT DISTINCT
  make_date(cast(year AS int), cast(month AS int), cast(day AS int)) AS scheduled_on,
  {_TYPED}
FROM parquet.`flights`
"""

SILVER_FLIGHTS_ENRICHED = f"""
CREATE OR REPLACE TEMPORARY VIEW airlines AS
  SELECT DISTINCT carrier, name FROM parquet.`airlines`;
CREATE OR REPLACE TEMPORARY VIEW airports AS
  SELECT DISTINCT faa, name FROM parquet.`airports`;
CREATE OR REPLACE TEMPORARY VIEW planes AS
  SELECT DISTINCT
    tailnum,
    {_text("manufacturer")} AS manufacturer,
    try_cast({_text("year")} AS int) AS built_in,
    try_cast({_text("seats")} AS int) AS seats
  FROM parquet.`planes`;
SELECT
  f.scheduled_on, f.sched_dep_time, f.carrier, f.flight, f.tailnum, f.origin, f.dest,
  f.dep_delay, f.arr_delay, f.distance,
  a.name AS airline,
  o.name AS origin_airport,
  d.name AS dest_airport,
  p.manufacturer, p.built_in, p.seats
FROM silver.flights f
LEFT JOIN airlines a ON a.carrier = f.carrier
LEFT JOIN airports o ON o.faa = f.origin
LEFT JOIN airports d ON d.faa = f.dest
LEFT JOIN planes p ON p.tailnum = f.tailnum
"""

CARRIER_DELAYS = """
-- One row a carrier. A flight is punctual when it lands at most 15 minutes late.
SELECT
  carrier,
  count(*) AS flights,
  count_if(dep_delay IS NULL) AS cancelled,
  count_if(arr_delay <= 15) AS punctual,
  sum(arr_delay) AS total_arrival_delay,
  avg(cast(arr_delay AS double)) AS average_arrival_delay,
  cast(count_if(arr_delay <= 15) AS double) / nullif(count(arr_delay), 0) AS punctual_share
FROM silver.flights
GROUP BY carrier
"""

WORST_ROUTES = """
WITH routes AS (
  SELECT origin, dest, count(*) AS flights, avg(cast(arr_delay AS double)) AS average_delay
  FROM silver.flights
  GROUP BY origin, dest
)
SELECT
  origin, dest, flights, average_delay,
  row_number() OVER (ORDER BY average_delay DESC, origin, dest) AS place
FROM routes
WHERE flights >= 100 AND average_delay > 10
"""


def daily_departures(first_month: int, last_month: int, measure: str) -> str:
    return f"""
SELECT scheduled_on, origin, {measure} AS flights, sum(dep_delay) AS total_delay
FROM silver.flights
WHERE month(scheduled_on) BETWEEN {first_month} AND {last_month}
GROUP BY scheduled_on, origin
"""


# The second run corrects June (it counts the cancelled flights too) and adds the rest of the year.
DAILY_DEPARTURES_FIRST = daily_departures(1, 6, "count(dep_time)")
DAILY_DEPARTURES_SECOND = daily_departures(6, 12, "count(*)")

CARRIER_PUNCTUALITY = """
WITH hard AS (
  SELECT e.carrier, max(e.airline) AS airline, count(w.place) AS on_worst_routes
  FROM silver.flights_enriched e
  LEFT JOIN gold.worst_routes w ON w.origin = e.origin AND w.dest = e.dest
  GROUP BY e.carrier
)
SELECT
  d.carrier, h.airline, d.flights, d.cancelled, h.on_worst_routes,
  d.punctual_share AS punctual, d.average_arrival_delay AS delay
FROM gold.carrier_delays d
JOIN hard h ON h.carrier = d.carrier
"""
