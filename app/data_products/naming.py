"""Derives a table's name for SQL from a product's name for people."""

import re
import unicodedata

from app.errors import InvalidRequest
from app.texts import MAX_NAME

PREFIX = "dp_"

# Letters that Unicode does not decompose into a base letter and a mark.
_LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
)


def table_name(name: str) -> str:
    """Turn `Café 360°` into `dp_cafe_360`. Raises `InvalidRequest` if no letter or digit
    remains."""
    decomposed = unicodedata.normalize("NFKD", name.casefold().translate(_LETTERS))
    letters = "".join(char for char in decomposed if not unicodedata.combining(char))
    words = re.findall(r"[a-z0-9]+", letters.casefold())
    if not words:
        raise InvalidRequest(
            f"No table can be named after {name!r}: it has no letter from a to z and no digit.",
            hint="Give the data product a name with at least one of them.",
            field="name",
        )
    stem = "_".join(words)
    if len(stem) > MAX_NAME:
        raise InvalidRequest(
            f"The table name would have {len(stem)} characters; at most {MAX_NAME} are allowed.",
            field="name",
        )
    return PREFIX + stem
