"""JSON that Asgard stores and passes on without looking into it."""

import json
from typing import Annotated, Any

from pydantic import BeforeValidator


def json_text(value: Any) -> str:
    """Return the value as JSON. A text is JSON already."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


JsonText = Annotated[str, BeforeValidator(json_text)]
"""JSON whose form somebody else decides, kept as a text: it costs its length and nothing more, and
no depth makes it unreadable. Records of earlier versions hold the value itself."""
