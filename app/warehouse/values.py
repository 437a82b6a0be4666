"""Converts the values of rows to JSON."""

import base64
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any


def plain(value: Any) -> Any:
    """Return a value for JSON. Decimals and non-finite numbers become text, so nothing is lost."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if value - value == 0 else str(value)
        case Decimal():
            return str(value)
        case datetime():
            text = value.isoformat()
            return text.replace("+00:00", "Z") if value.tzinfo else text
        case date() | time():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return str(value)
