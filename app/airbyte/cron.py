"""Airbyte takes Quartz's cron expressions: with seconds, and a `?` in one of the two day fields."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from app.errors import InvalidRequest

RANDOM = re.compile(r"(?<![A-Za-z])[RH](?![A-Za-z])", re.IGNORECASE)
"""Matches fields that croniter reads as random or hashed times."""
SECONDS = re.compile(r"[\d*,/-]+")
YEAR = re.compile(r"\*|[\d,/*-]*\d{4}[\d,/*-]*")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def quartz(expression: str) -> str:
    """Returns a cron expression of five fields as Quartz's, in UTC, and any other one unchanged.

    Raises `InvalidRequest` if both day fields are given: Quartz has no such schedule.
    """
    fields = expression.split()
    if len(fields) != 5:
        return expression
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        raise InvalidRequest(
            "An Airbyte schedule has days of the month or days of the week, not both.",
            hint="Set one of the two to *.",
        )
    if weekday == "*":
        return f"0 {minute} {hour} {day} {month} ? UTC"
    # Sunday is 0 in cron and 1 in Quartz; names are the same in both.
    weekdays = re.sub(r"(?<![/#\d])[0-7](?!\d)", lambda match: DAYS[int(match[0])], weekday)
    return f"0 {minute} {hour} ? {month} {weekdays} UTC"


def is_cron(expression: str) -> bool:
    """Return whether this is a cron expression of five fields, or one of Quartz: seconds before
    these five, and a year or a time zone after them."""
    fields = expression.split()
    if RANDOM.search(expression):
        return False
    if len(fields) == 5:
        return _is_valid(fields)
    return (
        6 <= len(fields) <= 8
        and SECONDS.fullmatch(fields[0]) is not None
        and _is_valid([field.replace("?", "*") for field in fields[1:6]])
        and _is_rest(fields[6:])
    )


def _is_valid(fields: list[str]) -> bool:
    from croniter import croniter

    return bool(croniter.is_valid(" ".join(fields)))


def _is_rest(fields: list[str]) -> bool:
    """Return whether the fields after the weekday are a year, a time zone, or both."""
    if fields and YEAR.fullmatch(fields[0]):
        fields = fields[1:]
    return not fields or (len(fields) == 1 and _is_zone(fields[0]))


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        return False
    return True


def next_time(expression: str, after: datetime | None = None) -> datetime | None:
    """Returns when a schedule runs next, or None if only Quartz can read its form."""
    from croniter import croniter

    zone, fields = _read(expression)
    try:
        start = (after or datetime.now(UTC)).astimezone(ZoneInfo(zone))
        next_run: datetime = croniter(fields, start).get_next(datetime)
    except (ValueError, KeyError):
        return None
    return next_run.astimezone(UTC)


def _read(expression: str) -> tuple[str, str]:
    """Returns the time zone, and the five fields as cron writes them."""
    fields = expression.split()
    if len(fields) < 6:
        return "UTC", expression
    minute, hour, day, month, weekday = fields[1:6]
    weekdays = re.sub(r"(?<![/#\d])[1-7](?!\d)", lambda match: DAYS[int(match[0]) - 1], weekday)
    rest = [field for field in fields[6:] if not YEAR.fullmatch(field)]
    zone = rest[0] if rest else "UTC"
    return zone, " ".join((minute, hour, day, month, weekdays)).replace("?", "*")
