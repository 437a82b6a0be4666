"""The tree of errors, and its way over a pipe."""

import inspect
import json
import re

import pytest

import app.errors as errors
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


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    drawn = [line for line in str(errors.__doc__).splitlines() if line.startswith("    ")]
    classes = [line.split()[0] for line in drawn]
    assert sorted(classes) == sorted(error.__name__ for error in PROBLEMS.values())
    assert classes == re.findall(r"^class (\w+)", inspect.getsource(errors), re.MULTILINE)
    branch: list[type[AsgardError]] = []
    for line in drawn:
        name, *status = line.split()
        error = getattr(errors, name)
        depth = (len(line) - len(line.lstrip()) - 4) // 2
        branch[depth:] = [error]
        assert list(error.__mro__[: depth + 1]) == branch[::-1]
        assert error.status == int(*status) if status else branch[-2].status
