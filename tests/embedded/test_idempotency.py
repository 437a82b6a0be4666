import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from app.caller import Caller
from app.errors import IdempotencyMismatch
from app.lakehouse.storage import ObjectStore
from app.runs import idempotency
from app.runs.idempotency import Claim, IdempotencyKey, IdempotencyStore
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


async def test_of_requests_in_flight_at_once_one_chooses_the_id(keys, key):
    claims = await asyncio.gather(*(keys.claim(key, f"id{number}") for number in range(12)))
    assert len({claim.id for claim in claims}) == 1
    assert sum(not claim.replayed for claim in claims) == 1


async def test_the_same_key_with_another_body_is_refused(keys, key):
    await keys.claim(key, "first")
    with pytest.raises(IdempotencyMismatch, match="used with another request"):
        await keys.claim(replace(key, body_hash="other"), "second")
    assert await keys.claim(key, "third") == Claim("first", replayed=True)


async def test_keys_of_other_callers_are_other_keys(keys, key):
    await keys.claim(key, "mine")
    theirs = replace(key, caller=Caller("them"), body_hash="other")
    assert await keys.claim(theirs, "theirs") == Claim("theirs", replayed=False)


async def test_a_repeat_of_our_own_lost_answer_is_no_replay(keys, key):
    await keys.claim(key, "first")
    assert await keys.claim(key, "first") == Claim("first", replayed=False)


async def test_an_expired_key_is_free_for_one_new_request(keys, key, monkeypatch):
    await keys.claim(key, "old")
    monkeypatch.setattr(idempotency, "KEPT", timedelta(seconds=-1))
    other = replace(key, body_hash="other")
    assert await keys.claim(other, "new") == Claim("new", replayed=False)
    monkeypatch.undo()
    assert await keys.claim(other, "newer") == Claim("new", replayed=True)


async def test_a_sweep_deletes_expired_keys_and_no_others(keys, key, lakehouse, monkeypatch):
    await keys.claim(key, "first")
    await keys.sweep()
    assert await keys.claim(key, "second") == Claim("first", replayed=True)
    monkeypatch.setattr(idempotency, "KEPT", timedelta(seconds=-1))
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
    monkeypatch.setattr(idempotency, "KEPT", timedelta(seconds=3))
    assert await keys.sweep() >= 1
    monkeypatch.undo()
    assert await lakehouse.store.get(key.object_key) is None
    assert await keys.claim(young, "again") == Claim("young", replayed=True)


async def is_old(store: ObjectStore, key: IdempotencyKey) -> bool:
    held = await store.get(key.object_key)
    return held is not None and held.answered_at - held.last_modified > timedelta(seconds=4)
