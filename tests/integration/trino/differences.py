"""Tests of the embedded suites that do not hold on Trino and Nessie, each with its reason."""

DIFFERENCES: dict[str, str] = {
    "test_a_session_reaches_nothing_but_the_lake": "about DuckDB's own session; "
    "Trino's reach is that of its catalogs and access control",
    "test_merges_leave_one_file_and_no_delete_files": "Trino merges on read: delete files are "
    "worked in from the eighth on (test_trino_engine)",
}
