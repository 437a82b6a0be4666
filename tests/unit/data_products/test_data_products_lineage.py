"""Lineage is traced through recorded runs."""

from datetime import UTC, datetime, timedelta

from app.data_products.lineage import Lineage, LineageEdge, NodeType, ProductTable, Tracer
from app.lakehouse.outputs import RunOutput, StreamOutput
from app.runs.model import Run, RunInput, RunKind, RunState

START = datetime(2024, 1, 1, tzinfo=UTC)
CARRIERS = {"gold.dp_carriers": ProductTable("p1", "Carriers", ("bi_team",))}


def run(
    run_id: str,
    minute: int,
    table: str,
    *inputs: RunInput,
    kind: RunKind = RunKind.SPARK,
    streams: tuple[StreamOutput, ...] = (),
) -> Run:
    at = START + timedelta(minutes=minute)
    return Run(
        run_id=run_id,
        kind=kind,
        target=table,
        state=RunState.SUCCEEDED,
        created_at=at,
        started_at=at,
        finished_at=at + timedelta(seconds=30),
        inputs=inputs,
        output=RunOutput(table=table, snapshot_id=f"s-{run_id}", streams=streams),
        created_by="anonymous",
    )


def reads(table: str, snapshot_of: str | None = None) -> RunInput:
    return RunInput(table=table, snapshot_id=f"s-{snapshot_of}" if snapshot_of else None)


def sync(run_id: str, minute: int, source: str, *paths: str) -> Run:
    streams = tuple(StreamOutput(stream=path, path=path, rows=1, bytes=1) for path in paths)
    read = RunInput(table=source, source=source)
    kind = RunKind.INGESTION
    return run(run_id, minute, f"ingestion/{run_id}", read, kind=kind, streams=streams)


def trace(table: str, *runs: Run) -> Lineage:
    newest_first = sorted(runs, key=lambda item: item.created_at, reverse=True)
    return Tracer(newest_first, CARRIERS, "silver").trace(table)


def names(nodes: object) -> list[str]:
    return [node.id for node in nodes]  # type: ignore[attr-defined]


def test_a_product_is_traced_to_its_source() -> None:
    lineage = trace(
        "gold.dp_carriers",
        sync("a1", 0, "nyc", "bronze/flights", "bronze/airlines"),
        run("b1", 1, "silver.flights", RunInput(table="bronze/flights", run_ids=("a1",))),
        run("c1", 2, "gold.delays", reads("silver.flights", "b1"), kind=RunKind.DBT),
        run("d1", 3, "gold.dp_carriers", reads("gold.delays", "c1"), kind=RunKind.DATA_PRODUCT),
    )
    assert names(lineage.upstream) == [
        "gold.delays",
        "silver.flights",
        "bronze/flights",
        "source:nyc",
    ]
    assert [node.type for node in lineage.upstream] == [
        NodeType.GOLD,
        NodeType.SILVER,
        NodeType.BRONZE,
        NodeType.SOURCE,
    ]
    assert names(lineage.downstream) == ["consumer:bi_team"]
    assert lineage.nodes[0].type is NodeType.DATA_PRODUCT
    assert lineage.nodes[0].product_id == "p1"
    assert set(lineage.edges) == {
        LineageEdge("gold.delays", "gold.dp_carriers", "d1"),
        LineageEdge("silver.flights", "gold.delays", "c1"),
        LineageEdge("bronze/flights", "silver.flights", "b1"),
        LineageEdge("source:nyc", "bronze/flights", "a1"),
        LineageEdge("gold.dp_carriers", "consumer:bi_team", None),
    }


def test_a_later_rebuild_from_another_table_does_not_change_the_lineage_that_was_read() -> None:
    lineage = trace(
        "gold.dp_carriers",
        run("b1", 1, "silver.flights", reads("silver.old")),
        run("d1", 2, "gold.dp_carriers", reads("silver.flights", "b1")),
        run("b2", 3, "silver.flights", reads("silver.new")),
    )
    assert names(lineage.upstream) == ["silver.flights", "silver.old"]


def test_a_view_is_traced_by_the_run_before_the_reader() -> None:
    lineage = trace(
        "gold.dp_carriers",
        run("v1", 1, "gold.worst", reads("silver.early"), kind=RunKind.DBT),
        run("d1", 2, "gold.dp_carriers", reads("gold.worst")),
        run("v2", 3, "gold.worst", reads("silver.late"), kind=RunKind.DBT),
    )
    assert names(lineage.upstream) == ["gold.worst", "silver.early"]


def view(run_id: str, minute: int, table: str, *inputs: RunInput) -> Run:
    created = run(run_id, minute, table, *inputs, kind=RunKind.DBT)
    return created.model_copy(update={"output": RunOutput(table=table)})


def test_the_tables_of_a_view_are_traced_as_they_were_when_the_view_was_read() -> None:
    lineage = trace(
        "gold.dp_carriers",
        run("b1", 1, "silver.flights", reads("silver.at_creation")),
        view("v1", 2, "gold.inner", reads("silver.flights", "b1")),
        view("v2", 3, "gold.worst", reads("gold.inner")),
        run("b2", 4, "silver.flights", reads("silver.at_reading")),
        run("d1", 5, "gold.dp_carriers", reads("gold.worst")),
        run("b3", 6, "silver.flights", reads("silver.later")),
    )
    read = ["gold.worst", "gold.inner", "silver.flights", "silver.at_reading"]
    assert names(lineage.upstream) == read
    assert LineageEdge("silver.flights", "gold.inner", "v1") in lineage.edges


def test_a_view_itself_shows_the_tables_as_they_are() -> None:
    lineage = trace(
        "gold.worst",
        run("b1", 1, "silver.flights", reads("silver.at_creation")),
        view("v1", 2, "gold.worst", reads("silver.flights", "b1")),
        run("b2", 3, "silver.flights", reads("silver.now")),
    )
    assert names(lineage.upstream) == ["silver.flights", "silver.now"]


def test_a_view_whose_known_runs_are_newer_than_its_reader_is_looked_up() -> None:
    lineage = trace(
        "gold.dp_carriers",
        run("d1", 2, "gold.dp_carriers", reads("gold.worst")),
        view("v2", 3, "gold.worst", reads("silver.flights")),
    )
    assert lineage.unseen_tables == {"gold.worst"}


def test_a_path_above_the_streams_stands_for_all_of_them() -> None:
    lineage = trace(
        "silver.all",
        sync("a1", 0, "nyc", "bronze/nyc/flights", "bronze/nyc/planes"),
        sync("a2", 0, "other", "bronze/nycx"),
        run("b1", 1, "silver.all", RunInput(table="bronze/nyc/")),
    )
    assert names(lineage.upstream) == ["bronze/nyc", "source:nyc"]


def test_readers_and_their_readers_are_downstream() -> None:
    lineage = trace(
        "silver.flights",
        run("b1", 1, "silver.flights"),
        run("c1", 2, "gold.delays", reads("silver.flights", "b1"), kind=RunKind.DBT),
        run("d1", 3, "gold.dp_carriers", reads("gold.delays", "c1")),
    )
    assert names(lineage.downstream) == ["gold.delays", "gold.dp_carriers", "consumer:bi_team"]


def test_a_table_that_no_longer_reads_another_is_not_downstream_of_it() -> None:
    lineage = trace(
        "silver.flights",
        run("c1", 1, "gold.delays", reads("silver.flights"), kind=RunKind.DBT),
        run("c2", 2, "gold.delays", reads("silver.other"), kind=RunKind.DBT),
    )
    assert lineage.downstream == ()


def test_tables_that_read_each_other_do_not_loop() -> None:
    lineage = trace(
        "gold.a",
        run("a1", 1, "gold.a", reads("gold.b")),
        run("b1", 2, "gold.b", reads("gold.a", "a1")),
        run("a2", 3, "gold.a", reads("gold.b", "b1")),
    )
    assert names(lineage.upstream) == ["gold.b"]
    assert set(lineage.edges) == {
        LineageEdge("gold.b", "gold.a", "a2"),
        LineageEdge("gold.a", "gold.b", "b1"),
    }


def test_a_product_that_never_ran_has_only_its_consumers() -> None:
    lineage = trace("gold.dp_carriers")
    assert lineage.upstream == ()
    assert names(lineage.downstream) == ["consumer:bi_team"]


def test_the_lineage_names_the_runs_that_would_make_it_exact() -> None:
    lineage = trace(
        "gold.dp_carriers",
        run("b2", 3, "silver.flights", RunInput(table="bronze/flights", run_ids=("a7",))),
        run("d1", 4, "gold.dp_carriers", reads("silver.flights", "b1")),
    )
    assert lineage.unseen_tables == {"silver.flights"}
    assert lineage.unseen_runs == {"a7"}
