"""A manifest that is written can be read, whatever a connector's state holds."""

from typing import Any
from uuid import uuid4

import pytest

from app.errors import EngineFailed
from app.lakehouse.bronze.manifests import BronzeManifests


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("levels", [190, 230, 400])
async def test_a_state_is_stored_or_refused_but_always_read(lakehouse, levels: int) -> None:
    manifests = BronzeManifests(lakehouse.store)
    ingestion_id, path = uuid4().hex, f"bronze/{uuid4().hex}"
    begun = await manifests.begin(ingestion_id, uuid4().hex, "source", [path])
    state = nested(levels)

    async def commit() -> None:
        await manifests.commit(begun, {path: ()}, replaced=frozenset(), state=state, outputs=())

    if levels < 200:
        await commit()
    else:
        with pytest.raises(EngineFailed, match="nested too deeply"):
            await commit()
        state = {}
    # Another gateway reads it, and those of all other ingestions.
    others = await BronzeManifests(lakehouse.store).all()
    assert [m.state for m in others if m.ingestion_id == ingestion_id] == [state]
