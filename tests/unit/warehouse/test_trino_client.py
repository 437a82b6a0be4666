"""A statement without a waiting caller is not polled, so Trino never runs it."""

import threading
from collections.abc import Iterator

import pytest

from app.errors import EngineFailed
from app.failure import FailureCause
from app.warehouse.trino.client import TrinoClient
from app.warehouse.trino.connection import TrinoConnection
from tests.trino_standin import Trino

SQL = "create or replace table t as select 1 as a"
MARKED = f"/* asgard run r1 */\n{SQL}"


@pytest.fixture
def trino() -> Iterator[Trino]:
    trino = Trino()
    trino.own_address = f"http://127.0.0.1:{trino.port}"
    yield trino
    trino.close()


@pytest.fixture
def client(trino: Trino) -> TrinoClient:
    return TrinoClient(TrinoConnection("127.0.0.1", trino.port, "asgard", "iceberg", "gold"))


def test_a_statement_runs_once_with_the_mark_of_its_run(client: TrinoClient, trino: Trino) -> None:
    query_ids: list[str] = []
    result = client.query(SQL, run_id="r1", on_query=query_ids.append, abandoned=threading.Event())
    assert trino.made == [MARKED]
    assert query_ids == [result.query_id]


def test_a_statement_that_is_abandoned_while_it_is_posted_never_runs(
    client: TrinoClient, trino: Trino
) -> None:
    abandoned, query_ids = threading.Event(), []
    abandoned.set()
    with pytest.raises(EngineFailed) as stopped:
        client.query(SQL, run_id="r1", on_query=query_ids.append, abandoned=abandoned)
    assert stopped.value.cause is FailureCause.CANCELLED
    assert (trino.made, query_ids) == ([], [])


def test_an_abandoned_statement_is_no_longer_polled(client: TrinoClient, trino: Trino) -> None:
    abandoned = threading.Event()
    with pytest.raises(EngineFailed):
        client.query(SQL, run_id="r1", on_query=lambda _: abandoned.set(), abandoned=abandoned)
    assert trino.made == []


def test_only_statements_that_begin_with_the_mark_are_the_runs(
    client: TrinoClient, trino: Trino
) -> None:
    """A name or a literal in another run's statement may have the text of the mark."""
    client.queries_of("r1")
    [asked] = trino.made
    assert "starts_with(query, '/* asgard run r1 */')" in asked
