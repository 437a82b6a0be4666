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
    told: list[str] = []
    done = client.query(SQL, run_id="r1", on_query=told.append, left=threading.Event())
    assert trino.made == [MARKED]
    assert told == [done.query_id]


def test_a_statement_that_was_left_while_it_was_posted_never_runs(
    client: TrinoClient, trino: Trino
) -> None:
    left, told = threading.Event(), []
    left.set()
    with pytest.raises(EngineFailed) as stopped:
        client.query(SQL, run_id="r1", on_query=told.append, left=left)
    assert stopped.value.failure_cause is FailureCause.CANCELLED
    assert (trino.made, told) == ([], [])


def test_a_statement_that_is_left_is_not_polled_any_more(client: TrinoClient, trino: Trino) -> None:
    left = threading.Event()
    with pytest.raises(EngineFailed):
        client.query(SQL, run_id="r1", on_query=lambda _: left.set(), left=left)
    assert trino.made == []
