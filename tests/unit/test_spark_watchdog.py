"""When a driver that does not start is looked at and given up, by a clock that the test moves."""

from itertools import pairwise

import pytest

from app.data_transformation.kubernetes.startup import LONGEST_LOOK, Looks

BEGUN = 1000.0


def looks_until_given_up(timeout: float, seconds_of_a_look: float = 0.0) -> list[float]:
    """Seconds after the begin of each look."""
    now = BEGUN
    looks, found = Looks(timeout, now), []
    while not found or not looks.is_last(now - seconds_of_a_look):
        now += looks.pause(now)
        found.append(now - BEGUN)
        now += seconds_of_a_look
        looks.looked(now)
    return found


def test_the_last_look_is_at_the_end_of_the_timeout() -> None:
    assert looks_until_given_up(60) == [15, 45, 60]
    assert looks_until_given_up(600) == [15, 45, 105, 225, 345, 465, 585, 600]
    assert looks_until_given_up(2) == [2]


@pytest.mark.parametrize("timeout", [1, 15, 16, 60, 61, 104, 600, 3600])
@pytest.mark.parametrize("seconds_of_a_look", [0, 1, 4])
def test_a_timeout_is_kept_within_five_seconds(timeout: float, seconds_of_a_look: float) -> None:
    found = looks_until_given_up(timeout, seconds_of_a_look)
    assert timeout <= found[-1] <= timeout + 5
    steps = [later - earlier for earlier, later in pairwise(found)]
    assert all(step <= LONGEST_LOOK + seconds_of_a_look for step in steps)


def test_news_in_between_do_not_put_the_next_look_off() -> None:
    """Each change of a waiting application used to start the pause again."""
    looks = Looks(60, BEGUN)
    assert looks.pause(BEGUN + 14) == 1
    assert looks.pause(BEGUN + 20) == 0
