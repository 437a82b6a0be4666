"""Tests of the embedded suites that do not hold on Trino and Nessie, each with its reason."""

DIFFERENCES: dict[str, str] = {
    "test_a_session_reaches_nothing_but_the_lake": "about DuckDB's own session; "
    "Trino's reach is that of its catalogs and access control",
}
