from app.nearest import near_matches

SLOW_TO_COMPARE = [("aab" * 34)[:97], ("ab" * 50)[:97]]
"""Names of which difflib compares a pair in 0.1 s."""


def test_the_nearest_name_comes_first_and_a_distant_one_is_left_out() -> None:
    existing = ["gold.flights", "silver.flights", "silver.flight", "silver.weather"]
    assert near_matches("silver.fligths", existing) == [
        "silver.flights",
        "gold.flights",
        "silver.flight",
    ]


def test_case_does_not_matter_and_nothing_is_near_nothing() -> None:
    assert near_matches("Gold.SALES", ["gold.sales"]) == ["gold.sales"]
    assert near_matches("gold.sales", []) == []


def test_names_that_are_hard_to_compare_are_compared_at_once() -> None:
    hostile = [f"gold.{SLOW_TO_COMPARE[1]}{number:03}" for number in range(20_000)]
    assert near_matches(f"gold.{SLOW_TO_COMPARE[0]}000", hostile)[0] == hostile[0]


def test_a_name_of_any_length_is_compared_by_its_beginning() -> None:
    assert near_matches("a" * 1_000_000, ["a" * 900_000, "b"]) == ["a" * 900_000]
