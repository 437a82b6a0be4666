"""A connector decides the form of its states, so manifests keep them as texts."""

import json
from uuid import uuid4

from app.lakehouse.bronze.manifests import BronzeManifests, manifest_key


async def test_no_state_makes_a_manifest_unreadable(lakehouse) -> None:
    manifests = BronzeManifests(lakehouse.store)
    ingestion_id, path = uuid4().hex, f"bronze/{uuid4().hex}"
    begun = await manifests.begin(ingestion_id, uuid4().hex, "source", [path])
    state = {"users": '{"a":' * 400 + "1" + "}" * 400, "orders": "not JSON"}
    await manifests.commit(begun, {path: ()}, replaced=frozenset(), state=state, outputs=())
    # Another gateway reads it, and those of all other ingestions.
    others = await BronzeManifests(lakehouse.store).all()
    assert [m.state for m in others if m.ingestion_id == ingestion_id] == [state]


async def test_states_of_former_versions_become_texts(lakehouse) -> None:
    ingestion_id = uuid4().hex
    state = {"users": {"stream": {"n": 1}}, "airbyte_job_id": 7}
    stored = {
        "ingestion_id": ingestion_id,
        "source": "source",
        "state": state,
        "pending": {"state": state},
    }
    await lakehouse.store.create(manifest_key(ingestion_id), json.dumps(stored).encode())
    manifest = await BronzeManifests(lakehouse.store).get(ingestion_id)
    assert manifest is not None
    assert manifest.pending is not None
    texts = {"users": '{"stream":{"n":1}}', "airbyte_job_id": "7"}
    assert manifest.state == manifest.pending.state == texts
