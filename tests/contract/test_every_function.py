"""Each function that DuckDB has is either on the allow-list or refused, wherever SQL is taken."""

import asyncio
import json

import duckdb
import httpx
import pytest

from app.errors import SqlRefused
from app.sql.guard.functions import SPARK, SPARK_TABLE_FUNCTIONS, TRINO
from app.sql.guard.guard import check_query
from app.sql.model import SqlPolicy

pytestmark = pytest.mark.thorough

BATCH = 8


def unlisted(allowed: frozenset[str]) -> list[str]:
    rows = duckdb.connect().execute("SELECT DISTINCT function_name FROM duckdb_functions()")
    names = {str(name).lower() for (name,) in rows.fetchall()}
    callable_names = {name for name in names if name.replace("_", "a").isalnum()}
    return sorted(callable_names - allowed)


def test_the_walk_is_worth_walking() -> None:
    names = unlisted(TRINO)
    assert len(names) > 300
    assert {"read_csv", "read_text", "duckdb_secrets", "duckdb_settings", "query_table"} <= set(
        names
    )


FORMS = ("SELECT {}('x') AS a", 'SELECT "{}"(1, 2) AS a', "SELECT * FROM {}('x') AS t")
POLICY = SqlPolicy(bucket="b")


@pytest.mark.parametrize("form", FORMS)
def test_the_guard_refuses_unlisted_functions_of_trino(form: str) -> None:
    assert [name for name in unlisted(TRINO) if is_admitted(form.format(name))] == []


def is_admitted(sql: str) -> bool:
    try:
        check_query(sql, POLICY)
    except SqlRefused:
        return False
    return True


async def test_unlisted_functions_are_refused_where_trino_is_spoken(
    client: httpx.AsyncClient, nothing_changes: None
) -> None:
    """Each function meets one of the routes and one of the forms."""
    bodies = []
    for number, name in enumerate(unlisted(TRINO)):
        route, fields = ROUTES[number % 3]
        form = FORMS[number // 3 % 3]
        bodies.append((route, name, {**fields, "sql_query": form.format(name)}))
    assert await admitted(client, bodies) == []


async def test_unlisted_functions_are_refused_where_spark_is_spoken(
    client: httpx.AsyncClient, nothing_changes: None
) -> None:
    bodies = [
        ("/spark/transform", name, {"sql": f"SELECT {name}('x') AS a"})
        for name in unlisted(SPARK | SPARK_TABLE_FUNCTIONS)
    ]
    assert await admitted(client, bodies) == []


PRODUCT = {
    "name": "Walk",
    "description": "never made",
    "data_product_type": "CUSTOM",
    "owner": "nobody",
    "update_frequency": "daily",
}
ROUTES: list[tuple[str, dict[str, str]]] = [
    ("/dbt/transform", {"name": "walk"}),
    ("/dbt/validate-sql", {}),
    ("/data-products", PRODUCT),
]


async def admitted(
    client: httpx.AsyncClient, bodies: list[tuple[str, str, dict[str, str]]]
) -> list[str]:
    """What was not refused by the guard: 400 of its family, or a validation that says no."""
    found: list[str] = []
    places = asyncio.Semaphore(BATCH)

    async def ask(route: str, name: str, body: dict[str, str]) -> None:
        async with places:
            answer = await client.post(route, json=body)
        if not is_refused(answer):
            found.append(f"{route} {name}: {answer.status_code} {answer.text[:200]}")

    await asyncio.gather(*(ask(*body) for body in bodies))
    return found


def is_refused(answer: httpx.Response) -> bool:
    document = json.loads(answer.text)
    if answer.status_code == 200:
        return document.get("is_valid") is False
    return answer.status_code == 400 and str(document["type"]).startswith("/problems/sql-")
