"""Data products over HTTP, on the real app and the real embedded lakehouse."""

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa
import pytest

from app.caller import ANONYMOUS, Caller
from app.data_products import views
from app.data_products.metadata import masked_metadata
from app.data_products.record import ProductDoc
from app.failure import FailureCause
from app.lakehouse.records.table import RecordTable
from app.runs.model import RunKind
from app.runs.submission import RunRequest, Submission
from tests.patience import until

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import RestCatalog

    from tests.conftest import Lakehouse

ORDERS = "silver.dp_test_orders"
TOTALS = f"SELECT customer, sum(amount) AS total FROM {ORDERS} GROUP BY customer"
# Some 10^12 rows: runs until it is cancelled.
ENDLESS = f"""
WITH many AS (SELECT a.id FROM {ORDERS} a, {ORDERS} b, {ORDERS} c)
SELECT count(*) AS n FROM many x, many y, many z, many w WHERE x.id + y.id + z.id + w.id = -1
"""


@pytest.fixture(scope="module")
async def api(client: httpx.AsyncClient, lakehouse: "Lakehouse") -> httpx.AsyncClient:
    rows = pa.table(
        {
            "id": pa.array(range(12), pa.int64()),
            "customer": pa.array([f"c{number % 3}" for number in range(12)]),
            "amount": pa.array([10.5] * 12),
            "note": pa.array(["17"] * 11 + ["not a number"]),
        }
    )

    def make(catalog: "RestCatalog") -> None:
        catalog.create_table(ORDERS, rows.schema).append(rows)

    await lakehouse.catalog.run(make)
    return client


def body(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "description": "What each customer spent",
        "data_product_type": "CUSTOMER_360",
        "owner": "analytics-team",
        "consumers": ["bi_team"],
        "update_frequency": "daily",
        "tags": ["customer"],
        "sql_query": TOTALS,
        **more,
    }


async def create(api: httpx.AsyncClient, name: str, **more: Any) -> dict[str, Any]:
    answer = await api.post("/data-products", json=body(name, **more))
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def get(api: httpx.AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    answer = await api.get(f"/data-products/{path}", params=params)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def run(api: httpx.AsyncClient, product: dict[str, Any]) -> dict[str, Any]:
    answer = await api.post(f"/data-products/{product['id']}/run")
    assert answer.status_code == 200, answer.text
    built: dict[str, Any] = answer.json()
    run_id = built["run"]["run_id"]

    async def ended() -> dict[str, Any] | None:
        current = await api.get(f"/runs/{run_id}")
        return current.json() if current.json()["finished_at"] else None

    # On a busy machine, the run may take longer than its request waits.
    built["run"] = await until(ended, 120)
    built["status"] = (await get(api, product["id"]))["status"]
    return built


async def totals(api: httpx.AsyncClient, product: dict[str, Any]) -> dict[str, float]:
    preview = await get(api, f"{product['id']}/preview")
    names = [column["name"] for column in preview["columns"]]
    place = names.index("customer"), names.index("total")
    return {row[place[0]]: row[place[1]] for row in preview["rows"]}


async def test_creating_a_product_returns_all_its_fields(api: httpx.AsyncClient) -> None:
    answer = await api.post("/data-products/", json=body("Customer 360 Analytics"))
    assert answer.status_code == 201
    assert answer.headers["etag"] == '"1"'
    created = answer.json()
    assert created["table_name"] == "dp_customer_360_analytics"
    assert created["schema_name"] == "gold"
    assert created["status"] == "created"
    assert created["version"] == 1
    assert created["created_by"] == "anonymous"
    assert created["created_at"].endswith("Z")
    assert {**created, **body("Customer 360 Analytics")} == created
    read = await api.get(f"/data-products/{created['id']}")
    assert read.json() == created
    assert read.headers["etag"] == '"1"'


async def test_source_query_is_an_older_name_of_sql_query(api: httpx.AsyncClient) -> None:
    older = body("Older Name")
    older["source_query"] = older.pop("sql_query")
    answer = await api.post("/data-products", json=older)
    assert answer.status_code == 201
    assert answer.json()["sql_query"] == TOTALS


async def test_two_names_for_the_same_table_conflict(api: httpx.AsyncClient) -> None:
    first = await create(api, "Café Revenue")
    answer = await api.post("/data-products", json=body("cafe -- revenue"))
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/conflict"
    assert answer.json()["conflicting_id"] == first["id"]


async def test_concurrent_requests_for_one_name_create_one_product(
    api: httpx.AsyncClient,
) -> None:
    answers = await asyncio.gather(
        *(api.post("/data-products", json=body("All At Once")) for _ in range(12))
    )
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [201] + [409] * 11
    listed = await get(api, "", search="all at once")
    assert listed["total_count"] == 1


@pytest.mark.parametrize(
    ("change", "status", "problem"),
    [
        ({"name": "!!!"}, 400, "invalid-request"),
        ({"name": "a" * 101}, 422, "invalid-body"),
        ({"name": "   "}, 422, "invalid-body"),
        ({"data_product_type": "NONSENSE"}, 422, "invalid-body"),
        ({"update_frequency": "yearly"}, 422, "invalid-body"),
        ({"sql_query": "SELECT ("}, 400, "sql-not-parsed"),
        ({"sql_query": f"DELETE FROM {ORDERS}"}, 400, "sql-not-select"),
        ({"sql_query": "SELECT * FROM asgard.runs"}, 400, "sql-table-not-allowed"),
        ({"sql_query": "SELECT '{{ env_var(1) }}' AS x"}, 400, "sql-jinja"),
        ({"sql_query": f"SELECT nothing FROM {ORDERS}"}, 400, "sql-invalid"),
        ({"sql_query": "SELECT 1 AS data_product_id"}, 400, "invalid-request"),
        ({"name": "a {{ x }}"}, 400, "sql-jinja"),
        ({"description": "{% if x %}"}, 400, "sql-jinja"),
        ({"owner": "{# x #}"}, 400, "sql-jinja"),
        ({"tags": ["fine", "{{ x }}"]}, 400, "sql-jinja"),
        ({"consumers": ["{{ x }}"]}, 400, "sql-jinja"),
    ],
)
async def test_bad_input_is_refused_and_changes_nothing(
    api: httpx.AsyncClient, change: dict[str, Any], status: int, problem: str
) -> None:
    before = (await get(api, ""))["total_count"]
    answer = await api.post("/data-products", json=body("Refused") | change)
    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == f"/problems/{problem}"
    assert (await get(api, ""))["total_count"] == before


async def test_an_unknown_table_is_refused_with_near_matches(api: httpx.AsyncClient) -> None:
    sql = "SELECT * FROM silver.dp_test_order"
    answer = await api.post("/data-products", json=body("Unknown Table", sql_query=sql))
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/table-not-found"
    assert ORDERS in answer.json()["suggested_tables"]


async def test_unknown_ids_are_not_found_on_every_route(api: httpx.AsyncClient) -> None:
    path = "/data-products/no-such-id"
    answers = [
        await api.get(path),
        await api.put(path, json={"owner": "x"}),
        await api.delete(path),
        await api.post(f"{path}/run"),
        await api.get(f"{path}/lineage"),
        await api.get(f"{path}/stats"),
        await api.get(f"{path}/preview"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 7


async def test_lists_are_filtered_and_paged(api: httpx.AsyncClient) -> None:
    for number in range(3):
        await create(api, f"Paged {number}", owner="pager", tags=["paged", f"n{number}"])
    listed = await get(api, "", owner="pager", page=2, page_size=2)
    assert (listed["total_count"], listed["page"], listed["page_size"]) == (3, 2, 2)
    assert [item["name"] for item in listed["data_products"]] == ["Paged 0"]
    page = await get(api, "", tag="n1")
    assert [item["name"] for item in page["data_products"]] == ["Paged 1"]
    assert (await get(api, "", search="PAGED 2"))["total_count"] == 1
    assert (await get(api, "", owner="pager", status="created"))["total_count"] == 3
    assert (await get(api, "", owner="pager", status="active"))["total_count"] == 0
    assert (await get(api, "", owner="pager", data_product_type="CUSTOM"))["total_count"] == 0
    assert (await api.get("/data-products", params={"page": 0})).status_code == 422


async def test_a_put_keeps_absent_fields_and_clears_null_ones(
    api: httpx.AsyncClient,
) -> None:
    product = await create(api, "To Be Changed")
    path = f"/data-products/{product['id']}"
    changes = {"owner": "finance", "tags": None, "description": None}
    answer = await api.put(path, json=changes, headers={"If-Match": '"1"'})
    assert answer.status_code == 200
    changed = answer.json()
    assert answer.headers["etag"] == '"2"'
    assert (changed["owner"], changed["tags"], changed["description"]) == ("finance", [], "")
    assert (changed["consumers"], changed["sql_query"]) == (["bi_team"], TOTALS)
    assert (changed["version"], changed["created_at"]) == (2, product["created_at"])

    late = await api.put(path, json={"owner": "late"}, headers={"If-Match": '"1"'})
    assert late.status_code == 412
    assert late.json()["type"] == "/problems/version-mismatch"
    assert (await api.put(path, json={"owner": None})).status_code == 422
    assert (await api.put(path, json={"sql_query": "DROP TABLE x"})).status_code == 400
    assert (await get(api, product["id"])) == changed


async def test_only_one_of_many_changes_to_one_version_succeeds(api: httpx.AsyncClient) -> None:
    product = await create(api, "Contended")
    path = f"/data-products/{product['id']}"
    answers = await asyncio.gather(
        *(
            api.put(path, json={"owner": f"o{number}"}, headers={"If-Match": '"1"'})
            for number in range(8)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7


async def test_a_rename_moves_the_table_only_before_the_first_run(api: httpx.AsyncClient) -> None:
    product = await create(api, "First Name")
    await create(api, "Taken Name")
    path = f"/data-products/{product['id']}"
    renamed = await api.put(path, json={"name": "Second Name"})
    assert renamed.json()["table_name"] == "dp_second_name"
    assert (await api.put(path, json={"name": "taken name"})).status_code == 409
    assert (await run(api, product))["status"] == "active"
    late = await api.put(path, json={"name": "Third Name"})
    assert late.status_code == 409
    assert "a run has already used gold.dp_second_name" in late.json()["detail"]
    same = await api.put(path, json={"name": "SECOND name"})
    assert (same.json()["name"], same.json()["table_name"]) == ("SECOND name", "dp_second_name")


async def test_a_run_that_begins_while_a_rename_is_recorded_undoes_it(
    api: httpx.AsyncClient, lakehouse: "Lakehouse", monkeypatch: pytest.MonkeyPatch
) -> None:
    product = await create(api, "Raced Name")
    path = f"/data-products/{product['id']}"
    records: Any = api._transport.app.state.context.data_products._records  # type: ignore[attr-defined]
    update, runs = records.update, []

    async def start_before(*args: Any, **more: Any) -> Any:
        if not runs:
            runs.append((await api.post(f"{path}/run", params={"wait_seconds": "60"})).json())
        return await update(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(records, "update", start_before)
        both = await asyncio.gather(
            api.put(path, json={"name": "Raced Elsewhere", "owner": "someone"}),
            api.put(path, json={"tags": ["kept"]}),
        )
    refused, other = both
    assert other.status_code == 200
    assert refused.status_code == 409
    assert refused.json()["conflicting_id"] == runs[0]["run"]["run_id"]
    now = (await api.get(path)).json()
    assert (now["name"], now["table_name"]) == ("Raced Name", "dp_raced_name")
    assert (now["owner"], now["status"]) == ("analytics-team", "active")
    assert now["tags"] == ["kept"], "another caller's change at the same time"
    assert await lakehouse.catalog.table("gold.dp_raced_name") is not None


async def test_a_run_that_begins_after_a_rename_builds_no_table_of_the_former_name(
    api: httpx.AsyncClient, lakehouse: "Lakehouse"
) -> None:
    product = await create(api, "Former Name")
    runs = api._transport.app.state.context.runs  # type: ignore[attr-defined]
    assert (
        await api.put(f"/data-products/{product['id']}", json={"name": "Later Name"})
    ).is_success
    late = RunRequest(
        kind=RunKind.DATA_PRODUCT, target="gold.dp_former_name", spec={}, subject_id=product["id"]
    )
    started = await runs.start(late, Submission(ANONYMOUS))
    ended = await runs.wait(started.run.run_id, 60)
    assert ended.failure is not None
    assert ended.failure.cause is FailureCause.CANCELLED
    assert await lakehouse.catalog.table("gold.dp_former_name") is None


async def test_a_product_whose_table_is_being_dropped_cannot_be_changed_or_run(
    api: httpx.AsyncClient, lakehouse: "Lakehouse", monkeypatch: pytest.MonkeyPatch
) -> None:
    product = await create(api, "Going Product")
    path = f"/data-products/{product['id']}"
    assert (await run(api, product))["status"] == "active"
    catalog = api._transport.app.state.context.catalog  # type: ignore[attr-defined]
    drop, refusals = catalog.drop_table, []

    async def drop_meanwhile(table: str) -> bool:
        refusals.append(await api.put(path, json={"owner": "someone"}))
        refusals.append(await api.post(f"{path}/run"))
        dropped: bool = await drop(table)
        return dropped

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "drop_table", drop_meanwhile)
        deleted = await api.delete(path, params={"drop_table": "true"})
    assert deleted.status_code == 204
    assert [answer.status_code for answer in refusals] == [409, 409]
    assert await lakehouse.catalog.table("gold.dp_going_product") is None


async def test_a_run_builds_the_table_with_the_columns_of_a_product(
    api: httpx.AsyncClient,
) -> None:
    product = await create(api, "Built Product")
    path = product["id"]
    empty = await get(api, f"{path}/stats")
    assert (empty["row_count"], empty["freshness"]["status"]) == (None, "never_built")
    assert (await api.get(f"/data-products/{path}/preview")).status_code == 404

    built = await run(api, product)
    assert (built["status"], built["run"]["state"]) == ("active", "succeeded")
    assert built["run"]["output"]["table"] == "gold.dp_built_product"
    assert built["run"]["output"]["rows"] == 3
    assert (await get(api, path))["last_run_id"] == built["run"]["run_id"]

    preview = await get(api, f"{path}/preview", limit=2)
    names = [column["name"] for column in preview["columns"]]
    assert names == [
        "customer",
        "total",
        "data_product_id",
        "data_product_type",
        "data_product_owner",
        "data_product_updated_at",
    ]
    assert len(preview["rows"]) == 2
    assert preview["rows"][0][2:5] == [product["id"], "CUSTOMER_360", "analytics-team"]
    assert await totals(api, product) == {"c0": 42.0, "c1": 42.0, "c2": 42.0}

    stats = await get(api, f"{path}/stats")
    assert stats["row_count"] == 3
    assert stats["snapshot_id"] == built["run"]["output"]["snapshot_id"]
    assert stats["size_bytes"] > 0
    assert stats["file_count"] == 1
    assert stats["freshness"]["status"] == "fresh"
    assert 0 <= stats["freshness"]["age_seconds"] < 60
    assert stats["freshness"]["limit_seconds"] == 86_400


async def test_the_lineage_shows_what_the_run_read(api: httpx.AsyncClient) -> None:
    base = await create(api, "Lineage Base", consumers=["bi_team", "ml_team"])
    built = await run(api, base)
    reader = await create(
        api, "Lineage Reader", sql_query="SELECT max(total) AS top FROM gold.dp_lineage_base"
    )
    read = await run(api, reader)
    lineage = await get(api, f"{base['id']}/lineage")
    assert [node["id"] for node in lineage["upstream"]] == [ORDERS]
    assert [node["id"] for node in lineage["downstream"]] == [
        "consumer:bi_team",
        "consumer:ml_team",
        "gold.dp_lineage_reader",
    ]
    edges = {(edge["from"], edge["to"]): edge["run_id"] for edge in lineage["edges"]}
    table = "gold.dp_lineage_base"
    assert edges[ORDERS, table] == built["run"]["run_id"]
    assert edges[table, "gold.dp_lineage_reader"] == read["run"]["run_id"]
    assert lineage["columns"] == []
    above = await get(api, f"{reader['id']}/lineage")
    assert [node["id"] for node in above["upstream"]] == [table, ORDERS]


async def test_a_failed_run_leaves_the_existing_table_unchanged(api: httpx.AsyncClient) -> None:
    product = await create(api, "Will Fail")
    await run(api, product)
    before = await get(api, f"{product['id']}/stats")
    broken = f"SELECT customer, cast(note AS integer) AS total FROM {ORDERS}"
    path = f"/data-products/{product['id']}"
    assert (await api.put(path, json={"sql_query": broken})).status_code == 200
    failed = await run(api, product)
    assert (failed["status"], failed["run"]["state"]) == ("failed", "failed")
    assert failed["run"]["failure"]["cause"] == "sql_error"
    assert (await get(api, product["id"]))["status"] == "failed"
    after = await get(api, f"{product['id']}/stats")
    assert after["snapshot_id"] == before["snapshot_id"]
    assert await totals(api, product) == {"c0": 42.0, "c1": 42.0, "c2": 42.0}


async def test_a_product_with_a_current_run_cannot_be_deleted(api: httpx.AsyncClient) -> None:
    product = await create(api, "Runs For Ever", sql_query=ENDLESS)
    path = f"/data-products/{product['id']}"
    key = {"Idempotency-Key": "dp-endless"}
    started = await api.post(f"{path}/run", params={"wait_seconds": 0}, headers=key)
    assert started.status_code == 202
    run_id = started.json()["run"]["run_id"]
    assert started.headers["location"] == f"/api/v1/runs/{run_id}"
    joined = await api.post(f"{path}/run", headers={"Prefer": "respond-async"})
    assert joined.json()["run"]["run_id"] == run_id
    assert (await get(api, product["id"]))["status"] == "running"
    refused = await api.delete(path)
    assert refused.status_code == 409
    assert refused.json()["conflicting_id"] == run_id

    await api.post(f"/runs/{run_id}/cancel")
    ended = await api.post(f"{path}/run", headers=key)
    assert ended.json()["run"]["state"] == "cancelled"
    assert ended.json()["status"] == "created"
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).status_code == 404


async def test_a_delete_keeps_the_table_by_default(
    api: httpx.AsyncClient, lakehouse: "Lakehouse"
) -> None:
    retained, dropped = await create(api, "Table Kept"), await create(api, "Table Dropped")
    for product in (retained, dropped):
        await run(api, product)
    path = "/data-products"
    stale = await api.delete(f"{path}/{retained['id']}", headers={"If-Match": '"7"'})
    assert stale.status_code == 412
    assert (await api.delete(f"{path}/{retained['id']}")).status_code == 204
    drop = await api.delete(f"{path}/{dropped['id']}", params={"drop_table": "true"})
    assert drop.status_code == 204
    assert await lakehouse.catalog.table("gold.dp_table_kept") is not None
    assert await lakehouse.catalog.table("gold.dp_table_dropped") is None
    again = await create(api, "Table Kept")
    assert again["id"] != retained["id"]


async def test_a_product_that_is_created_again_has_no_builds_of_the_former_one(
    api: httpx.AsyncClient,
) -> None:
    former = await create(api, "Created Twice")
    assert (await run(api, former))["status"] == "active"
    path = f"/data-products/{former['id']}"
    assert (await api.delete(path, params={"drop_table": "true"})).status_code == 204
    again = await create(api, "Created Twice")
    stats = await get(api, f"{again['id']}/stats")
    assert (stats["row_count"], stats["freshness"]["status"]) == (None, "never_built")


async def test_a_stale_delete_does_not_drop_the_table(
    api: httpx.AsyncClient, lakehouse: "Lakehouse"
) -> None:
    product = await create(api, "Stale Delete")
    await run(api, product)
    refused = await api.delete(
        f"/data-products/{product['id']}",
        params={"drop_table": "true"},
        headers={"If-Match": '"9"'},
    )
    assert refused.status_code == 412
    assert await lakehouse.catalog.table("gold.dp_stale_delete") is not None


async def test_an_idempotency_key_gives_the_same_product_and_run(api: httpx.AsyncClient) -> None:
    async def post(path: str, key: str, json: Any = None) -> httpx.Response:
        headers = {"Idempotency-Key": key}
        return await api.post(f"/data-products{path}", json=json, headers=headers)

    first = await post("", "dp-create", body("Idempotent"))
    again = await post("", "dp-create", body("Idempotent"))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    other = await post("", "dp-create", body("Idempotent Too"))
    assert other.status_code == 422
    path = f"/{first.json()['id']}/run"
    runs = [(await post(path, "dp-run")).json()["run"]["run_id"] for _ in range(2)]
    assert runs[0] == runs[1]
    assert (await post(path, "dp-run-2")).json()["run"]["run_id"] != runs[0]


async def test_a_repeated_request_does_not_recreate_what_was_deleted(
    api: httpx.AsyncClient,
) -> None:
    headers = {"Idempotency-Key": "dp-deleted"}
    first = await api.post("/data-products", json=body("Deleted Since"), headers=headers)
    path = f"/data-products/{first.json()['id']}"
    assert (await api.delete(path)).status_code == 204
    again = await api.post("/data-products", json=body("Deleted Since"), headers=headers)
    assert (again.status_code, again.json()["type"]) == (410, "/problems/gone")
    assert again.json()["deleted_id"] == first.json()["id"]
    assert "idempotency-replayed" not in again.headers
    assert (await api.get(path)).status_code == 404
    await create(api, "Deleted Since")


async def test_no_transformation_takes_the_table_of_a_product(api: httpx.AsyncClient) -> None:
    await create(api, "Mine Alone")
    taken = {"name": "dp_mine_alone", "sql_query": "SELECT 1 AS x"}
    answer = await api.post("/dbt/transform", json=taken)
    assert answer.status_code == 409


async def test_metadata_with_a_secret_is_refused(api: httpx.AsyncClient) -> None:
    secret = "hunter2-0815"
    for metadata in (
        {"db_password": secret},
        {"source": [{"apiToken": secret}]},
        {"jdbc": f"postgresql://me:{secret}@db.example.com/shop"},
    ):
        answer = await api.post("/data-products", json=body("Secretive", metadata=metadata))
        assert answer.status_code == 422
        assert "contains a secret" in answer.json()["detail"]
        assert "secret_name" in answer.json()["detail"]
        assert secret not in answer.text
    product = await create(api, "Discreet", metadata={"secret_name": "shop-db", "key": "id"})
    assert product["metadata"] == {"secret_name": "shop-db", "key": "id"}
    changed = await api.put(
        f"/data-products/{product['id']}", json={"metadata": {"credentials": secret}}
    )
    assert changed.status_code == 422
    assert (await get(api, product["id"]))["metadata"] == product["metadata"]


async def test_metadata_is_searched_once_and_on_a_thread_of_its_own(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []

    def counting(metadata: dict[str, Any]) -> dict[str, Any]:
        searched.append(threading.get_ident())
        return masked_metadata(metadata)

    product = await create(api, "Searched once", metadata={"team": "a"})
    monkeypatch.setattr(views, "masked_metadata", counting)
    await api.get("/data-products")
    assert threading.get_ident() not in searched
    searched.clear()
    for path in ("/data-products", f"/data-products/{product['id']}"):
        assert (await api.get(path)).status_code == 200
    assert searched == []
    changed = await api.put(f"/data-products/{product['id']}", json={"metadata": {"team": "b"}})
    assert changed.json()["metadata"] == {"team": "b"}
    assert len(searched) == 1


async def test_secrets_in_metadata_of_old_versions_are_masked_and_retained(
    api: httpx.AsyncClient, lakehouse: "Lakehouse"
) -> None:
    secret = "hunter2-0815"
    product = await create(api, "Old Secretive")
    records = RecordTable(lakehouse.records, "data_products", ProductDoc)
    old = {"team": "a", "db": {"password": secret}}
    await records.update(
        product["id"], lambda doc: doc.model_copy(update={"metadata": old}), Caller("old")
    )
    shown = (await get(api, product["id"]))["metadata"]
    assert shown == {"team": "a", "db": {"password": "**********"}}
    listed = (await get(api, "", search="Old Secretive"))["data_products"]
    assert [item["metadata"] for item in listed] == [shown]
    sent_back = {**shown, "team": "b"}
    changed = await api.put(f"/data-products/{product['id']}", json={"metadata": sent_back})
    assert changed.status_code == 200, changed.text
    assert changed.json()["metadata"] == sent_back
    record = await records.get(product["id"])
    assert record is not None
    assert record.doc.metadata == {"team": "b", "db": {"password": secret}}
