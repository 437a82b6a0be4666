"""`metadata` of data products: free JSON, of which no secret may become part.

Records are append-only and cannot forget, and everyone with `data-products:read` sees them.
"""

import copy
from typing import Annotated, Any

from pydantic import AfterValidator

from app.free_json import FreeJson
from app.secret_marks import MASK, plain_secrets


def _without_secrets(value: dict[str, Any]) -> dict[str, Any]:
    for pointer in plain_secrets(value):
        raise ValueError(
            f"{'.'.join(map(str, pointer))} holds a secret, and metadata is not a place for one: "
            "records keep it for ever. Name where the secret is kept instead, for example "
            "secret_name."
        )
    return value


Metadata = Annotated[FreeJson, AfterValidator(_without_secrets)]


def masked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """As clients see it: records of old versions may hold secrets."""
    shown = copy.deepcopy(metadata)
    for pointer in list(plain_secrets(metadata)):
        holder: Any = shown
        for step in pointer[:-1]:
            holder = holder[step]
        holder[pointer[-1]] = MASK
    return shown


def with_kept_secrets(given: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """What a client sends back as it was shown: masked values stay what they are."""
    restored = _restored(given, masked_metadata(kept), kept)
    return dict(restored)


def _restored(given: Any, shown: Any, kept: Any) -> Any:
    if given == shown:
        return kept
    if isinstance(given, dict) and isinstance(shown, dict):
        return {
            name: _restored(value, shown[name], kept[name]) if name in shown else value
            for name, value in given.items()
        }
    if isinstance(given, list) and isinstance(shown, list) and len(given) == len(shown):
        return [_restored(*items) for items in zip(given, shown, kept, strict=True)]
    return given
