"""Airbyte takes Quartz's cron expressions: with seconds, and a `?` in one of two day fields."""

import re

from app.errors import InvalidRequest

DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def quartz(expression: str) -> str:
    """One of five fields, as cron knows it, becomes Quartz's, in UTC; others stay as they are.

    Raises `InvalidRequest` where both day fields are given: Quartz has no such schedule.
    """
    fields = expression.split()
    if len(fields) != 5:
        return expression
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        raise InvalidRequest(
            "Airbyte's schedules have either days of the month or days of the week.",
            hint="Leave one of the two as *.",
        )
    if weekday == "*":
        return f"0 {minute} {hour} {day} {month} ? UTC"
    # Sunday is 0 in cron and 1 in Quartz; names are the same in both.
    named = re.sub(r"(?<![/\d])[0-7](?!\d)", lambda found: DAYS[int(found[0])], weekday)
    return f"0 {minute} {hour} ? {month} {named} UTC"
