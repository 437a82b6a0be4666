from datetime import UTC, datetime, timedelta

from app.data_products.record import BuildTimes, UpdateFrequency

NOW = datetime(2024, 5, 1, tzinfo=UTC)
HOURLY, DAILY = UpdateFrequency.HOURLY, UpdateFrequency.DAILY


def test_tables_are_stale_when_they_are_older_than_their_frequency_allows() -> None:
    ages = [(HOURLY, 3599), (HOURLY, 3601), (DAILY, 3601), (DAILY, 86_401), (HOURLY, None)]
    built = BuildTimes.of(
        (frequency, None if age is None else NOW - timedelta(seconds=age))
        for frequency, age in ages
    )
    now = NOW.timestamp()
    assert (built.fresh(now), built.stale(now), built.never_built) == (2, 2, 1)
    assert (built.oldest(HOURLY, now), built.oldest(DAILY, now)) == (3601, 86_401)
    assert built.oldest(UpdateFrequency.WEEKLY, now) == 0
    assert built.stale(now + 2) == 3


def test_a_table_is_as_fresh_as_allowed_until_the_limit_has_passed() -> None:
    built = BuildTimes.of([(HOURLY, NOW)])
    limit = NOW.timestamp() + HOURLY.limit_seconds
    assert [built.stale(limit + seconds) for seconds in (-1, 0, 1)] == [0, 0, 1]
    assert built.oldest(HOURLY, NOW.timestamp() - 5) == 0  # the clock was set back
