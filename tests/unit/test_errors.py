"""The tree of errors, and its way over a pipe."""

import json

import pytest

from app.errors import PROBLEMS, AsgardError, EngineFailed, EngineUnreachable
from app.failure import FailureCause

ADDED = {"position": {"line": 2, "column": 7}}


def over_a_pipe(error: AsgardError) -> AsgardError:
    return AsgardError.from_json(json.loads(json.dumps(error.to_json())))


@pytest.mark.parametrize("problem", sorted(PROBLEMS))
def test_every_error_comes_back_as_it_was(problem: str) -> None:
    error = PROBLEMS[problem](
        "no such word",
        hint="try SELECT",
        retry_after=7,
        cause=FailureCause.OUT_OF_MEMORY,
        retryable=True,
        **ADDED,
    )
    copy = over_a_pipe(error)
    assert (type(copy), vars(copy)) == (type(error), vars(error))


@pytest.mark.parametrize("problem", sorted(PROBLEMS))
def test_what_an_error_does_not_state_is_what_is_usual_for_its_class(problem: str) -> None:
    error = PROBLEMS[problem]("no such word")
    copy = over_a_pipe(error)
    usual = (error.hint, error.retry_after, error.cause, error.retryable, error.members)
    assert (copy.hint, copy.retry_after, copy.cause, copy.retryable, copy.members) == usual


def test_a_class_without_its_own_problem_type_comes_back_as_its_parent() -> None:
    class Away(EngineUnreachable):
        pass

    copy = over_a_pipe(Away("gone for lunch"))
    assert (type(copy), copy.detail, copy.retry_after) == (EngineUnreachable, "gone for lunch", 5)


def test_an_instance_states_another_cause_than_its_class() -> None:
    lost = EngineFailed("gone", cause=FailureCause.LOST, retryable=True)
    assert (lost.cause, lost.retryable) == (FailureCause.LOST, True)
    assert (EngineFailed.cause, EngineFailed.retryable) == (FailureCause.INTERNAL, False)
