"""Schedules are read whole: a part that is ignored would be a choice without effect."""

import pytest
from pydantic import ValidationError

from app.airbyte.cron import is_cron, next_time, quartz
from app.airbyte.schemas import ScheduleBody


@pytest.mark.parametrize(
    "expression",
    [
        *("0 2 * * *", "*/5 0-6 1,15 * mon-fri", "0 0 * * 1#2"),
        *("0 0 12 * * ?", "0 0 12 ? * MON-FRI", "30 0 12 1 1 ?"),
        *("0 0 12 ? * MON-FRI 1999", "0 0 12 * * ? 2030-2035", "0 0 12 * * ? *"),
        *("0 0 12 * * ? UTC", "0 0 12 * * ? Europe/Berlin", "0 0 12 * * ? 2030 Europe/Berlin"),
    ],
)
def test_cron_expressions_of_both_kinds_are_accepted(expression: str) -> None:
    assert is_cron(expression)
    ScheduleBody.model_validate({"scheduleType": "cron", "cronExpression": expression})


@pytest.mark.parametrize(
    "expression",
    [
        *("", "0", "0 2 * *", "not cron", "0 0 * * * ; rm -rf", "* * * * * junk"),
        *("0 0 0 * * ? UTC extra", "0 0 0 * * ? Nowhere/City", "0 0 0 * * ? UTC 2030"),
        *(
            "R R * * *",
            "H 0 * * *",
            "x 0 0 * * ?",
            "0 0 0 * * ? ../../etc/passwd",
            "0 0 0 * * ? /etc",
        ),
    ],
)
def test_anything_else_is_refused(expression: str) -> None:
    assert not is_cron(expression)
    with pytest.raises(ValidationError):
        ScheduleBody.model_validate({"scheduleType": "cron", "cronExpression": expression})


def test_a_cron_expression_needs_a_cron_schedule() -> None:
    with pytest.raises(ValidationError, match="only for schedules of type cron"):
        ScheduleBody.model_validate({"scheduleType": "manual", "cronExpression": "0 2 * * *"})
    ScheduleBody.model_validate({"scheduleType": "manual", "cronExpression": None})


def test_the_second_monday_of_a_month_stays_one() -> None:
    assert quartz("0 0 * * 1#2") == "0 0 0 ? * MON#2 UTC"


def test_the_next_time_is_in_the_zone_that_follows_the_year() -> None:
    assert next_time("0 0 12 * * ? 2030 Europe/Berlin") is not None
