"""Translates formats of dates from MySQL and Joda, as Trino reads them, to strftime."""

import re

from app.sql.duckdb.functions import JODA_DATE_FORMAT, MYSQL_DATE_FORMAT

_JODA_PART = re.compile(r"([A-Za-z])\1*|'((?:[^']|'')*)'|[^A-Za-z']+")


def mysql_format(text: str) -> str | None:
    """Return the format for strftime, or None if a part of it has no equivalent."""
    result = ""
    parts = iter(text)
    for char in parts:
        if char != "%":
            result += char
            continue
        directive = MYSQL_DATE_FORMAT.get(next(parts, ""))
        if directive is None:
            return None
        result += directive
    return result


def joda_format(text: str) -> str | None:
    """Return the format for strftime, or None if a part of it has no equivalent."""
    result = ""
    end = 0
    for part in _JODA_PART.finditer(text):
        if part.start() != end:
            return None
        end = part.end()
        if part.group(1):
            directive = JODA_DATE_FORMAT.get(part.group())
            if directive is None:
                return None
            result += directive
        else:
            quoted = part.group(2)
            plain = part.group() if quoted is None else quoted.replace("''", "'") or "'"
            result += plain.replace("%", "%%")
    return result if end == len(text) else None
