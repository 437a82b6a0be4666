"""Checks `metadata` of data products: free JSON that must not contain secrets.

Records are append-only, and every caller with `data-products:read` can see them.
"""

import copy
from typing import Annotated, Any

from pydantic import AfterValidator

from app.errors import InvalidBody
from app.free_json import FreeJson
from app.secret_marks import MASK, plain_secrets


def _without_secrets(value: dict[str, Any]) -> dict[str, Any]:
    for pointer in plain_secrets(value):
        raise ValueError(
            f"{'.'.join(map(str, pointer))} contains a secret; metadata must not contain any, "
            "because records keep them forever. State where the secret is kept instead, for "
            "example in a field secret_name."
        )
    return value


Metadata = Annotated[FreeJson, AfterValidator(_without_secrets)]


def masked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata as clients see it: records of old versions may hold secrets."""
    shown = copy.deepcopy(metadata)
    for pointer in list(plain_secrets(metadata)):
        holder: Any = shown
        for step in pointer[:-1]:
            holder = holder[step]
        holder[pointer[-1]] = MASK
    return shown


def with_stored_secrets(submitted: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """Return `submitted` with the stored value wherever a client sends a masked value back.

    Raises `InvalidBody` if the value would not be masked there: what makes it a secret may be the
    name beside it, which the client has changed."""
    restored = dict(_restored(submitted, masked_metadata(stored), stored))
    if masked_metadata(restored) != submitted:
        raise InvalidBody(
            "A masked value in metadata would no longer be masked.",
            hint="Leave out the masked value, or send it back with the fields beside it unchanged.",
        )
    return restored


def _restored(submitted: Any, shown: Any, stored: Any) -> Any:
    if submitted == shown:
        return stored
    if isinstance(submitted, dict) and isinstance(shown, dict):
        return {
            name: _restored(value, shown[name], stored[name]) if name in shown else value
            for name, value in submitted.items()
        }
    if isinstance(submitted, list) and isinstance(shown, list) and len(submitted) == len(shown):
        return [_restored(*items) for items in zip(submitted, shown, stored, strict=True)]
    return submitted
