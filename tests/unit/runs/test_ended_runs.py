from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runs.ended_runs import EndedRun, EndedRuns, PackedJson, position
from app.runs.model import Run, RunKind, RunState
from app.runs.pages import RunFilter, page_of

START = datetime(2013, 1, 1, tzinfo=UTC)
RUN_IDS = [f"{number:012x}" for number in range(12)]
STATES = [RunState.SUCCEEDED, RunState.FAILED]
KINDS = [RunKind.DBT, RunKind.SPARK]


def ended(run_id: str, version: int, seconds: int, fields: tuple[int, ...]) -> EndedRun:
    state, kind, target, subject = fields
    run = Run(
        run_id=run_id,
        kind=KINDS[kind],
        state=STATES[state],
        target=f"gold.t{target}",
        subject_id=f"s{subject}" if subject else None,
        created_at=START + timedelta(seconds=seconds),
        created_by="me",
        version=version,
    )
    return EndedRun(
        run_id=run_id,
        version=version,
        created_at=run.created_at,
        kind=run.kind,
        state=run.state,
        engine_state=None,
        target=run.target,
        subject_id=run.subject_id,
        finished_at=None,
        document=PackedJson.of(run.model_dump_json()),
    )


some_ended = st.builds(
    ended,
    st.sampled_from(RUN_IDS),
    st.integers(0, 3),
    st.integers(0, 3),
    st.tuples(*[st.integers(0, 1)] * 4),
)
filters = st.builds(
    RunFilter,
    st.none() | st.sampled_from(KINDS),
    st.none() | st.sampled_from(STATES),
    st.none() | st.sampled_from(["gold.t0", "gold.t1", "gold.none"]),
    st.none() | st.sampled_from(["s1", "s2"]),
)


def indexed(runs: Sequence[EndedRun], batches: bool) -> EndedRuns:
    index = EndedRuns()
    for at in range(0, len(runs), 5):
        if batches:
            index.put_all(list({run.run_id: run for run in runs[at : at + 5]}.values()))
        else:
            for run in runs[at : at + 5]:
                index.put_all([run])
    return index


@pytest.mark.parametrize("batches", [True, False])
@given(runs=st.lists(some_ended, max_size=30), run_filter=filters)
def test_lists_have_the_last_version_of_each_run_in_order(
    batches: bool, runs: list[EndedRun], run_filter: RunFilter
) -> None:
    index = indexed(runs, batches)
    last = {run.run_id: run for run in runs}
    expected = sorted(filter(run_filter.matches, last.values()), key=position)
    found = index.having(run_filter.fields)
    assert run_filter.matching(found) == expected
    assert found == expected or not run_filter.is_indexed
    for run_id in RUN_IDS:
        assert index.get(run_id) == last.get(run_id)
        assert index.version(run_id) == (last[run_id].version if run_id in last else -1)
    index.clear()
    assert [*index.having({}), *index.having(run_filter.fields)] == []


@given(
    st.lists(some_ended, max_size=30),
    st.lists(some_ended, max_size=8, unique_by=lambda run: run.run_id),
    st.integers(1, 7),
)
def test_pages_of_open_and_ended_runs_have_each_run_once(
    runs: list[EndedRun], opened: list[EndedRun], limit: int
) -> None:
    """An open run is created when the ended one was: it is the same run."""
    index = indexed(runs, batches=True)
    current = [run.read() for run in opened]
    for at, run in enumerate(current):
        if (same := index.get(run.run_id)) is not None:
            current[at] = run.model_copy(update={"created_at": same.created_at})
    whole = {run.run_id: run.read() for run in index.having({})}
    whole |= {run.run_id: run for run in current}
    expected = sorted(whole.values(), key=position, reverse=True)
    seen: list[Run] = []
    cursor, number = None, 0
    while True:
        number += 1
        found = page_of(current, cursor, limit, ended=index.having({}), hidden=current)
        page = found.read()
        assert page.total_count == len(expected)
        numbered = page_of(current, None, limit, number, ended=index.having({}), hidden=current)
        assert numbered.runs == found.runs
        seen += page.runs
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == expected


def test_a_hidden_run_that_does_not_match_is_not_shown() -> None:
    """An open run may have changed since its end was recorded under an older version."""
    index = indexed([ended(RUN_IDS[0], 1, 0, (0, 0, 0, 0))], batches=False)
    newer = index.having({})[0].read().model_copy(update={"version": 2, "state": RunState.FAILED})
    found = index.having({"state": RunState.SUCCEEDED})
    page = page_of([], None, 10, ended=found, hidden=[newer])
    assert (page.runs, page.total_count) == ((), 0)
