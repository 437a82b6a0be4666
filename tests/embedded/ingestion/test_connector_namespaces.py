"""Every record of a connector reaches the stream that it belongs to, or fails the sync."""

from typing import Any
from uuid import uuid4

import pytest

from app.airbyte.engine import StreamSelection
from app.runs.model import RunState
from tests.harnesses.ingestion import INCREMENTAL, IngestionHarness, Toy, make


async def test_records_reach_the_stream_of_their_namespace(
    local_harness: IngestionHarness,
) -> None:
    name = f"ticks_{uuid4().hex[:8]}"
    source = await local_harness.source("toy", rows=3, stream=name, namespaces=["a", "b"])
    both = [StreamSelection(name=name, namespace=namespace) for namespace in ("a", "b")]
    ingestion = await local_harness.ingestion(source, *both)
    run = await local_harness.sync(ingestion)
    assert run.state is RunState.SUCCEEDED, run.failure
    assert run.output is not None
    assert [stream.rows for stream in run.output.streams] == [3, 3]


@pytest.mark.parametrize("absent", ["", None])
async def test_records_without_a_namespace_belong_to_the_only_stream_of_their_name(
    local_harness: IngestionHarness, absent: str | None
) -> None:
    """Connectors of Airbyte's Python CDK leave the namespace out of their records."""
    sent = {"namespace": absent}
    toy = await make(local_harness, INCREMENTAL, rows=25, namespaces=["shop"], sent_as=sent)
    assert toy.ingestion.streams[0].namespace == "shop"
    runs = [await toy.sync() for _ in range(2)]
    assert [run.output.rows_written for run in runs if run.output] == [25, 0]
    assert await toy.rows() == list(range(1, 26))


@pytest.mark.parametrize("namespaces", [[""], [None]])
async def test_an_empty_namespace_is_none(
    local_harness: IngestionHarness, namespaces: list[Any]
) -> None:
    toy = await make(local_harness, rows=3, namespaces=namespaces, sent_as={"namespace": ""})
    run = await toy.sync()
    assert run.state is RunState.SUCCEEDED, run.failure
    assert await toy.rows() == [1, 2, 3]


async def refused(toy: Toy, sent: str) -> None:
    run = await toy.sync()
    assert run.state is RunState.FAILED
    assert run.failure is not None
    assert f"records of {sent}, which was not requested" in run.failure.message
    assert "PATCH" in (run.failure.hint or "")
    assert not run.failure.retryable
    assert await toy.rows() == []
    assert await toy.harness.keys(toy.path) == set()


@pytest.mark.parametrize("namespaces", [["shop"], [None]], ids=str)
async def test_records_of_another_namespace_fail_the_sync(
    local_harness: IngestionHarness, namespaces: list[Any]
) -> None:
    sent = {"namespace": "other"}
    toy = await make(local_harness, rows=3, namespaces=namespaces, sent_as=sent)
    await refused(toy, f"the stream {toy.ingestion.streams[0].name} of other")


async def test_records_of_another_stream_fail_the_sync(local_harness: IngestionHarness) -> None:
    toy = await make(local_harness, rows=3, sent_as={"stream": "strangers"})
    await refused(toy, "the stream strangers")


async def test_records_that_two_namespaces_could_have_fail_the_sync(
    local_harness: IngestionHarness,
) -> None:
    name = f"ticks_{uuid4().hex[:8]}"
    source = await local_harness.source(
        "toy", rows=3, stream=name, namespaces=["a", "b"], sent_as={"namespace": None}
    )
    both = [StreamSelection(name=name, namespace=namespace) for namespace in ("a", "b")]
    toy = Toy(local_harness, await local_harness.ingestion(source, *both))
    await refused(toy, f"the stream {name}")
