import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from app import idempotency
from app.caller import Caller
from app.config import AuthMode
from app.errors import IdempotencyMismatch
from app.idempotency import Claim, IdempotencyKey, IdempotencyStore
from app.lakehouse.storage import ObjectStore
from tests.harnesses.gateway import bearer, gateway_harness, key_of, write_keys
from tests.patience import until


@pytest.fixture
def key() -> IdempotencyKey:
    return IdempotencyKey(uuid4().hex, Caller("me"), "hash of the body")


@pytest.fixture
def keys(lakehouse) -> IdempotencyStore:
    return IdempotencyStore(lakehouse.store)


async def test_without_a_key_every_request_keeps_its_own_id(keys):
    assert await keys.claim(None, "a") == Claim("a", replayed=False)


async def test_the_same_key_and_body_give_the_first_id_again(keys, key):
    assert await keys.claim(key, "first") == Claim("first", replayed=False)
    assert await keys.claim(key, "second") == Claim("first", replayed=True)


async def test_one_of_several_concurrent_requests_chooses_the_id(keys, key):
    claims = await asyncio.gather(*(keys.claim(key, f"id{number}") for number in range(12)))
    assert len({claim.id for claim in claims}) == 1
    assert sum(not claim.replayed for claim in claims) == 1


async def test_the_same_key_with_another_body_is_refused(keys, key):
    await keys.claim(key, "first")
    with pytest.raises(IdempotencyMismatch, match="used with another request"):
        await keys.claim(replace(key, body_hash="other"), "second")
    assert await keys.claim(key, "third") == Claim("first", replayed=True)


async def test_keys_of_other_callers_are_different_keys(keys, key):
    await keys.claim(key, "mine")
    other_key = replace(key, caller=Caller("them"), body_hash="other")
    assert await keys.claim(other_key, "theirs") == Claim("theirs", replayed=False)


async def test_a_repeat_after_our_own_lost_answer_is_not_a_replay(keys, key):
    await keys.claim(key, "first")
    assert await keys.claim(key, "first") == Claim("first", replayed=False)


async def test_an_expired_key_is_free_for_one_new_request(keys, key, monkeypatch):
    await keys.claim(key, "old")
    monkeypatch.setattr(idempotency, "LIFETIME", timedelta(seconds=-1))
    other = replace(key, body_hash="other")
    assert await keys.claim(other, "new") == Claim("new", replayed=False)
    monkeypatch.undo()
    assert await keys.claim(other, "newer") == Claim("new", replayed=True)


async def test_a_sweep_deletes_expired_keys_and_no_others(keys, key, lakehouse, monkeypatch):
    await keys.claim(key, "first")
    await keys.sweep()
    assert await keys.claim(key, "second") == Claim("first", replayed=True)
    monkeypatch.setattr(idempotency, "LIFETIME", timedelta(seconds=-1))
    swept = await asyncio.gather(keys.sweep(), IdempotencyStore(lakehouse.store).sweep())
    assert max(swept) >= 1
    assert await lakehouse.store.get(key.object_key) is None
    assert await keys.sweep() == 0


async def test_a_young_key_outlives_the_sweep_of_an_old_one(keys, key, lakehouse, monkeypatch):
    await keys.sweep()
    await keys.claim(key, "old")
    await until(lambda: is_old(lakehouse.store, key))
    young = replace(key, key=uuid4().hex)
    await keys.claim(young, "young")
    monkeypatch.setattr(idempotency, "LIFETIME", timedelta(seconds=3))
    assert await keys.sweep() >= 1
    monkeypatch.undo()
    assert await lakehouse.store.get(key.object_key) is None
    assert await keys.claim(young, "again") == Claim("young", replayed=True)


async def is_old(store: ObjectStore, key: IdempotencyKey) -> bool:
    held = await store.get(key.object_key)
    return held is not None and held.answered_at - held.last_modified > timedelta(seconds=4)


async def test_the_parameters_of_a_request_belong_to_its_key(lakehouse):
    async with gateway_harness(lakehouse.settings) as opened:

        async def post(path: str, key: str, **more: object) -> httpx.Response:
            headers = {"Idempotency-Key": key}
            return await opened.client.post(f"/api/v1/dbt/{path}", headers=headers, **more)

        name, key = f"m{uuid4().hex[:8]}", uuid4().hex
        body = {"name": name, "sql_query": "SELECT 1 AS a"}
        made = (await post("transform", uuid4().hex, json=body)).json()["transformation_id"]
        first = await post(f"transformations/{made}/run", key)
        assert first.status_code == 200, first.text
        other = await post(f"transformations/{made}/run?full_refresh=true", key)
        assert (other.status_code, other.json()["type"]) == (
            422,
            "/problems/idempotency-key-reused",
        )
        # The waiting time does not change the request.
        again = await post(f"transformations/{made}/run?wait_seconds=5", key)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.json()["run_id"] == first.json()["run_id"]

        full = uuid4().hex
        one = await post(f"transformations/{made}/run?full_refresh=true&wait_seconds=9", full)
        two = await post(f"transformations/{made}/run?wait_seconds=8&full_refresh=true", full)
        assert one.json()["run_id"] == two.json()["run_id"] != first.json()["run_id"]
        assert (await post(f"transformations/{made}/run", full)).status_code == 422


async def test_only_its_caller_and_runs_admin_see_the_key_of_a_run(lakehouse, tmp_path):
    scopes = ("dbt:write", "dbt:read", "runs:read", "runs:write")
    made = {name: key_of(*scopes, name=name) for name in ("ann", "eve")}
    made["operator"] = key_of(*scopes, "runs:admin", name="operator")
    write_keys(tmp_path / "keys.json", *(known for _, known in made.values()))
    settings = {"auth_mode": AuthMode.API_KEY, "auth_keys_file": tmp_path / "keys.json"}
    async with gateway_harness(lakehouse.settings, **settings) as closed:

        async def get(path: str, who: str) -> httpx.Response:
            return await closed.client.get(f"/api/v1/{path}", headers=bearer(made[who][0]))

        async def keys_seen(run_id: str, transformation: str, who: str) -> list[str | None]:
            listed = (await get(f"runs?subject_id={transformation}", who)).json()["runs"]
            shown = (await get(f"runs/{run_id}", who)).json()
            detail = (await get(f"dbt/transformations/{transformation}", who)).json()["runs"]
            cancelled = await closed.client.post(
                f"/api/v1/runs/{run_id}/cancel", headers=bearer(made[who][0])
            )
            own = [cancelled.json()] if cancelled.is_success else []
            return [run["idempotency_key"] for run in (*listed, shown, *detail, *own)]

        answer = await closed.client.post(
            "/api/v1/dbt/transform",
            headers={**bearer(made["ann"][0]), "Idempotency-Key": "order-4711"},
            json={"name": f"m{uuid4().hex[:8]}", "sql_query": "SELECT 1 AS a"},
        )
        assert answer.is_success, answer.text
        ids = answer.json()["run_id"], answer.json()["transformation_id"]
        assert await keys_seen(*ids, "ann") == ["order-4711"] * 4
        assert await keys_seen(*ids, "operator") == ["order-4711"] * 4
        assert await keys_seen(*ids, "eve") == [None] * 3
        stream = await closed.client.get(
            f"/api/v1/runs/{ids[0]}/events",
            headers={**bearer(made["eve"][0]), "Accept": "text/event-stream"},
        )
        assert '"idempotency_key":null' in stream.text
        assert "order-4711" not in stream.text
