"""Lists tests of the embedded suites that do not hold on Trino and Nessie, with reasons, and tests
that are not run a second time on SeaweedFS's catalog."""

_TYPES = "Nessie refuses the types of Iceberg's format version 3"
ON_TRINO: dict[str, str] = {
    "test_validation_refuses_sql_that_the_engine_does_not_support": "Trino supports this SQL",
    "test_a_session_reaches_nothing_but_the_lake": "about DuckDB's own session; "
    "Trino's reach is that of its catalogs and access control",
    "test_two_writers_that_create_a_table_at_once_get_the_same_location": "the catalog of an "
    "external lake chooses the folders of tables",
    "test_a_table_is_created_where_a_creation_that_died_left_files": "the catalog of an "
    "external lake chooses the folders of tables",
    "test_a_second_spelling_of_a_column_is_refused": "Trino writes all names in lower case",
    "test_a_foreign_view_of_a_type_that_asgard_does_not_have_stops_nothing[unknown]": _TYPES,
    "test_a_foreign_view_of_a_type_that_asgard_does_not_have_stops_nothing[geometry]": _TYPES,
    "test_a_foreign_view_does_not_take_the_output_of_a_spark_run": _TYPES,
    "test_a_foreign_view_that_cannot_be_translated_is_named": "Trino needs no translation, and "
    "refuses this view itself: it was already invalid",
    "test_a_table_of_a_version_that_cannot_be_written_is_refused[unknown]": _TYPES,
    "test_a_table_of_a_version_that_cannot_be_written_is_refused[geometry]": _TYPES,
    "test_merges_leave_one_file_and_no_delete_files": "Trino merges on read: delete files are "
    "worked in from the eighth on (test_trino_engine)",
}

_HISTORY = "Nessie shows the current snapshot alone"
_OAUTH = "this Nessie gives no tokens; runs on SeaweedFS's catalog"
ON_NESSIE: dict[str, str] = {
    "test_a_tables_figures_are_those_of_its_snapshot": f"{_HISTORY}: created_at is its time",
    "test_a_runs_snapshot_is_found_behind_later_ones": _HISTORY,
    "test_a_replacement_is_one_snapshot_with_the_runs_id": _HISTORY,
    "test_old_snapshots_expire_with_the_files_that_only_they_use": "nessie-gc deletes files",
    "test_uncommitted_files_of_a_dead_run_are_removed": "nessie-gc deletes files",
    "test_replaced_files_are_deleted_once_no_snapshot_has_them": "nessie-gc deletes files",
    "test_a_dropped_table_takes_its_files_along": "files die by nessie-gc",
    "test_a_replacement_removes_delete_files_of_other_engines": "DuckDB, which the test "
    "deletes with, breaks on Nessie's answer; Trino's delete files: test_trino_engine",
    "test_a_token_that_is_refused_is_renewed_and_the_request_repeated": _OAUTH,
    "test_a_token_is_renewed_before_it_expires": _OAUTH,
    "test_the_wrong_credential_is_a_failure_that_says_so": _OAUTH,
    "test_a_catalog_that_accepts_and_stays_mute_does_not_hang[token]": _OAUTH,
}

_SAME = "asks nothing more of a catalog, and the whole stage has 20 minutes"
NOT_ON_SEAWEEDFS: dict[str, str] = {
    "test_trino_any_name_builds.py": _SAME,
    "test_trino_auth.py": "its Trino, with TLS and tokens, is set up on Nessie",
    "test_trino_bad_configuration.py": "of Nessie's settings and branches, and of Trino's own",
    "test_trino_doctor.py": "of Nessie's branches, and of a Trino with rules",
    "test_trino_faults.py": "of a silent Nessie, and of a killed Trino",
    "test_trino_gateway.py": _SAME,
    "test_trino_runs.py": _SAME,
    "test_trino_storage.py": "asks nothing of any catalog",
    "test_trino_text_in_bodies.py": _SAME,
}
"""Everything else runs on both; nothing of it is skipped for SeaweedFS's sake."""
