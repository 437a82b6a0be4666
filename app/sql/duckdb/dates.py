"""Formats of dates: MySQL's and Joda's, as Trino reads them, into strftime's."""

import re

from app.sql.duckdb.functions import JODA_DATE_FORMAT, MYSQL_DATE_FORMAT

_JODA_PART = re.compile(r"([A-Za-z])\1*|'((?:[^']|'')*)'|[^A-Za-z']+")


def mysql_format(text: str) -> str | None:
    """None when a part of the format has no equivalent."""
    result = ""
    parts = iter(text)
    for char in parts:
        if char != "%":
            result += char
            continue
        known = MYSQL_DATE_FORMAT.get(next(parts, ""))
        if known is None:
            return None
        result += known
    return result


def joda_format(text: str) -> str | None:
    """None when a part of the format has no equivalent."""
    result = ""
    end = 0
    for part in _JODA_PART.finditer(text):
        if part.start() != end:
            return None
        end = part.end()
        if part.group(1):
            known = JODA_DATE_FORMAT.get(part.group())
            if known is None:
                return None
            result += known
        else:
            quoted = part.group(2)
            plain = part.group() if quoted is None else quoted.replace("''", "'") or "'"
            result += plain.replace("%", "%%")
    return result if end == len(text) else None
