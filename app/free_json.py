"""Free-form JSON from clients, limited to what can be stored, read again and inspected. The edge
has already refused text that is not Unicode."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator

MAX_DEPTH = 20
MAX_BYTES = 64 * 1024


def check_free_json(value: dict[str, Any]) -> dict[str, Any]:
    if is_deeper(value, MAX_DEPTH):
        raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise ValueError("has a number that JSON does not have: NaN or Infinity") from None
    if len(text) > MAX_BYTES:
        raise ValueError(f"is {len(text)} bytes of JSON; expected at most {MAX_BYTES}")
    return value


def is_deeper(value: Any, levels: int) -> bool:
    """Walk level by level, because very deep values exceed the recursion limit."""
    level = [value]
    for _ in range(levels):
        inner = [item.values() if isinstance(item, dict) else item for item in level]
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
        if not level:
            return False
    return True


FreeJson = Annotated[dict[str, Any], AfterValidator(check_free_json)]
