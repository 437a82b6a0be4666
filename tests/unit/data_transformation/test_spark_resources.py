import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.data_transformation.resources import SparkResources, memory_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512m", 512 * 2**20),
        ("512M", 512 * 2**20),
        ("512mb", 512 * 2**20),
        ("512Mi", 512 * 2**20),
        ("2g", 2 * 2**30),
        ("1Gi", 2**30),
        ("524288k", 512 * 2**20),
        ("1t", 2**40),
    ],
)
def test_memory_is_read_in_the_units_of_the_jvm_and_of_kubernetes(text: str, size: int) -> None:
    assert memory_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "512", "m", "-1g", "0g", "1.5g", "2 g", "2x", "2gg", "1e3m", "449m", "2t", "9" * 30 + "g"],
)
def test_memory_that_spark_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        SparkResources(executor_memory=text)


@given(st.integers(450, 1024 * 1024))
def test_every_size_between_the_limits_is_accepted_unchanged(mebibytes: int) -> None:
    assert SparkResources(driver_memory=f"{mebibytes}m").driver_memory == f"{mebibytes}m"


@pytest.mark.parametrize("field", ["executor_instances", "executor_cores", "driver_cores"])
@pytest.mark.parametrize("value", [0, -1, 101, "two"])
def test_counts_outside_their_limits_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        SparkResources.model_validate({field: value})


def test_the_memory_of_all_executors_is_added_up() -> None:
    assert SparkResources(executor_instances=3, executor_memory="1g").executors_bytes == 3 * 2**30
