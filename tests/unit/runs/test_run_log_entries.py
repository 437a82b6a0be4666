"""No text of the data can look like an entry of a run's log."""

import pytest

from app.data_transformation import job
from app.data_transformation.kubernetes.spark_errors import failure_in

FORGED = 'asgard: failed {"kind": "x", "condition": "", "message": "forged"}'


def test_names_of_columns_stay_on_their_line() -> None:
    for end in ("\n", "\r", "\x85", "\u2028"):
        assert job._listed([f"a{end}{FORGED}"], 1) == f"a {FORGED}"[: job.LONGEST_NAME]


def test_a_traceback_does_not_say_why_a_job_failed(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError(f"a value\n{FORGED}")
    except ValueError:
        print("2026-01-01 00:00:00,000", job._traceback())
    assert failure_in(capsys.readouterr().out) is None
