"""The times at which a driver that does not start is checked and given up, by the test's clock."""

from itertools import pairwise

import pytest

from app.data_transformation.kubernetes.startup import LONGEST_CHECK, CheckTimes

START = 1000.0


def checks_until_given_up(timeout: float, check_seconds: float = 0.0) -> list[float]:
    """Return the seconds from the start to each check."""
    now = START
    checks, times = CheckTimes(timeout, now), []
    while not times or not checks.is_last(now - check_seconds):
        now += checks.pause(now)
        times.append(now - START)
        now += check_seconds
        checks.checked(now)
    return times


def test_the_last_check_is_at_the_end_of_the_timeout() -> None:
    assert checks_until_given_up(60) == [15, 45, 60]
    assert checks_until_given_up(600) == [15, 45, 105, 225, 345, 465, 585, 600]
    assert checks_until_given_up(2) == [2]


@pytest.mark.parametrize("timeout", [1, 15, 16, 60, 61, 104, 600, 3600])
@pytest.mark.parametrize("check_seconds", [0, 1, 4])
def test_a_timeout_is_kept_within_five_seconds(timeout: float, check_seconds: float) -> None:
    times = checks_until_given_up(timeout, check_seconds)
    assert timeout <= times[-1] <= timeout + 5
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert all(step <= LONGEST_CHECK + check_seconds for step in steps)


def test_changes_in_between_do_not_delay_the_next_check() -> None:
    """Each change of a waiting application used to restart the pause."""
    checks = CheckTimes(60, START)
    assert checks.pause(START + 14) == 1
    assert checks.pause(START + 20) == 0
