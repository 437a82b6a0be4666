"""The event loop does work that callers or data choose in a time that grows with its size, or in a
thread. Each input is so large that comparing all pairs, or following all paths, would not end in
time."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app import redaction
from app.airbyte.remote.s3_paths import safe
from app.data_products.lineage import Tracer
from app.data_transformation.kubernetes.spark_errors import translated
from app.data_transformation.states import SparkState
from app.lakehouse.bronze.manifests import Manifest, StreamFiles, SyncCommit, _at
from app.lakehouse.outputs import RunOutput, StreamOutput
from app.lakehouse.tables import Column
from app.lakehouse.types import iceberg_type
from app.redaction import MOST_FORMS, Scope
from app.runs.archive import RunArchive
from app.runs.ended_runs import EndedRun, PackedJson
from app.runs.history import _parsed, _row
from app.runs.model import Run, RunInput, RunKind, RunState
from app.runs.pages import RunFilter, page_of
from app.runs.reader import _read
from app.runs.store import StoredRun
from app.warehouse import dependents
from app.warehouse.dbt.project_files import allowed_refs
from app.warehouse.trino.columns import describe

pytestmark = pytest.mark.thorough

NOW = datetime(2013, 1, 1, tzinfo=UTC)


def a_run(number: int, target: str, reads: list[str], streams: list[str] | None = None) -> Run:
    return Run(
        run_id=f"{number:032x}",
        kind=RunKind.DBT if streams is None else RunKind.INGESTION,
        target=target,
        state=RunState.SUCCEEDED,
        created_at=NOW,
        started_at=NOW,
        finished_at=NOW,
        created_by="me",
        inputs=tuple(RunInput(table=table) for table in reads),
        output=RunOutput(
            table=target,
            rows=1,
            rows_written=1,
            bytes=1,
            files=1,
            snapshot_id=str(number),
            streams=tuple(an_output(path) for path in streams or ()),
        ),
    )


def an_output(path: str) -> StreamOutput:
    return StreamOutput(stream=path, path=path, rows=1, bytes=1, files=())


def an_ended_run(run: Run) -> EndedRun:
    return _parsed(_row(run, "commit")).ended


def reads_of_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    reads: list[str] = []
    read = EndedRun.read
    monkeypatch.setattr(EndedRun, "read", lambda self: reads.append(self.run_id) or read(self))
    return reads


def test_dbt_models_that_read_many_others_are_put_in_order() -> None:
    names = [f"m{number:04}" for number in range(600)]
    reads = {name: names[max(0, at - 500) : at] for at, name in enumerate(names)}
    assert allowed_refs(reads, set()) == {name: set(below) for name, below in reads.items()}
    circle = {**reads, names[0]: [names[-1]]}
    refs = allowed_refs(circle, set())
    assert refs[names[0]] == {names[-1]}
    assert refs[names[-1]] == set()


def test_a_long_chain_of_tables_is_traced_in_both_directions() -> None:
    count = 20_000
    runs = [a_run(n, f"gold.t{n}", [f"gold.t{n + 1}"]) for n in range(count)]
    lineage = Tracer(runs, {}, "silver").trace("gold.t10000")
    assert len(lineage.upstream) == len(lineage.downstream) == count // 2
    assert [node.id for node in lineage.upstream[:2]] == ["gold.t10001", "gold.t10002"]
    assert [node.id for node in lineage.downstream[:2]] == ["gold.t9999", "gold.t9998"]


def test_many_paths_are_traced_to_many_streams() -> None:
    syncs = [
        a_run(n, f"ingestion/{n}", [f"source/{n}"], [f"bronze/{n}/s{k}" for k in range(1000)])
        for n in range(100)
    ]
    reader = a_run(1000, "silver.t", [f"bronze/x{n}" for n in range(10_000)] + ["bronze/7"])
    lineage = Tracer([reader, *syncs], {}, "silver").trace("silver.t")
    assert len(lineage.upstream) == 10_002
    assert lineage.upstream[-1].id == "source:source/7"


def test_the_newest_run_of_many_paths_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = an_ended_run(a_run(1, "ingestion/1", [], ["bronze/a"]))
    reads = reads_of_runs(monkeypatch)
    newest = _read({f"bronze/{number}": ended for number in range(1000)})
    assert len(newest) == 1000
    assert len(reads) == 1


def test_a_filtered_list_reads_only_the_runs_that_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"state": RunState.FAILED}
    refused = {**failed, "engine_state": SparkState.SUBMISSION_FAILED}
    runs = [
        an_ended_run(a_run(number, "silver.t", []).model_copy(update=update))
        for number, update in enumerate([failed, refused] * 500)
    ]
    reads = reads_of_runs(monkeypatch)
    only = RunFilter(condition=lambda run: SparkState.of(run) is SparkState.SUBMISSION_FAILED)
    page = page_of([], None, 20, ended=only.matching(runs)).read()
    assert page.total_count == 500
    assert {run.engine_state for run in page.runs} == {SparkState.SUBMISSION_FAILED}
    assert len(reads) == 20


def test_a_manifest_of_many_streams_and_commits_is_searched() -> None:
    written = tuple(an_output(f"bronze/written/{number}") for number in range(20_000))
    commits = tuple(SyncCommit(run_id=str(number), at=NOW, streams=written) for number in range(20))
    streams = {f"bronze/new/{number}": StreamFiles() for number in range(20_000)}
    manifest = Manifest(ingestion_id="1", source="s", streams=streams, commits=commits)
    assert len(_at("bronze", [manifest])) == 20_000


def test_ended_runs_that_wait_for_history_are_looked_up() -> None:
    archive = RunArchive(None, None)  # type: ignore[arg-type]
    run = a_run(1, "gold.t", [])
    runs = [run.model_copy(update={"run_id": str(number)}) for number in range(100_000)]
    for run in runs:
        archive.add(StoredRun(run, "etag"))
    assert all(archive.get(run.run_id) is run for run in runs)
    assert archive.get("unknown") is None


def test_the_lines_of_a_callers_secrets_are_searched_for_up_to_a_limit() -> None:
    scope = Scope()
    scope.register_secrets(
        "\n".join(f'"{n:04}-{line:016}' for line in range(8)) for n in range(400)
    )
    assert len(scope.forms) == MOST_FORMS
    with redaction.within(scope):
        assert redaction.clean(f'x "0399-{0:016} x') == "x *** x"


async def test_columns_of_equal_types_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def counted(spelling: str) -> Any:
        parsed.append(spelling)
        return iceberg_type(spelling)

    monkeypatch.setattr(dependents, "iceberg_type", counted)
    columns = [Column(f"c{number}", "integer") for number in range(10_000)]
    assert await dependents._same(columns, list(columns))
    assert parsed == []
    assert await dependents._same(columns[:1], [Column("c0", "int")])
    assert not await dependents._same(columns[:1], [Column("c0", "varchar")])


def test_a_row_of_combining_characters_is_not_sorted() -> None:
    assert safe("Ange\u0301lique \ufb01n") == "Angelique_fin"
    assert safe("a" + "\u0301\u0316" * 500_000) == "a"


def test_a_message_of_spark_is_searched_from_each_word_only_so_far() -> None:
    error = translated("X", "", "Connect to " * 200_000)
    assert error.detail.startswith("Connect to Connect to")


def test_the_columns_of_a_query_on_trino_are_counted_once() -> None:
    names = [f"c{number}" for number in range(200_000)]
    assert len(describe("SELECT 1", names, ["bigint"] * len(names)).columns) == len(names)


def test_the_sql_of_an_ended_run_takes_little_memory() -> None:
    sql = f"SELECT '{'x' * 250_000}\N{GRINNING FACE}'"
    run = a_run(1, "silver.t", []).model_copy(update={"spec": {"sql": sql, "select": sql}})
    document = PackedJson.of(run.model_dump_json())
    assert Run.model_validate_json(document.unpacked()) == run
    assert len(document.packed) < 10_000
