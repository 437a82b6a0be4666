"""The guarantees of runs, on real S3 and a real catalog."""

import asyncio
import threading
from dataclasses import replace
from itertools import pairwise

import pytest

from app.errors import EngineFailed, EngineUnreachable, NotFound, TooManyRequests
from app.failure import FailureCause
from app.idempotency import IdempotencyKey
from app.runs.ended_runs import EndedRun
from app.runs.handler import RunControl, RunResult
from app.runs.model import Run, RunState
from app.runs.reader import RunEnd
from app.runs.store import open_key
from app.runs.submission import Submission
from tests.harnesses.runs import (
    ME,
    Idle,
    RowWriter,
    RunsHarness,
    open_runs_harness,
    request,
    running,
    runs_harness,
)
from tests.patience import until


@pytest.fixture(scope="module")
async def harness(lakehouse) -> RunsHarness:
    return await runs_harness(lakehouse.lake)


@pytest.fixture(scope="module")
async def runs(harness: RunsHarness):
    async with running(harness.service(RowWriter(harness))) as service:
        yield service


async def end_of(service, target: str, **more) -> Run:
    started = await service.start(*request(target, **more))
    return await service.wait(started.run.run_id, 30)


async def test_a_run_goes_from_queued_to_succeeded_and_reports_its_output(harness, runs):
    started = await runs.start(*request("simple", subject_id="s1", request_id="r1"))
    assert (started.joined, started.run.state) == (False, RunState.QUEUED)
    run = await runs.wait(started.run.run_id, 30)
    assert run.state is RunState.SUCCEEDED
    assert run.output is not None
    assert run.output.table == harness.table("simple")
    assert run.engine == {"toy": 1, "done": True}
    assert run.engine_state == "DONE"
    assert run.created_at <= run.started_at <= run.finished_at
    assert run.failure is None
    assert [event.reason for event in run.events] == ["Started", "COMPUTING", "Succeeded"]
    assert [event.id for event in run.events] == [2, 3, run.version]
    assert await harness.rows("simple") == [run.run_id]


async def test_a_failure_keeps_its_cause_hint_and_whether_to_retry(harness):
    error = EngineFailed(
        "out of memory", cause=FailureCause.OUT_OF_MEMORY, hint="less", retryable=True
    )
    failing = Failing(error)
    async with running(harness.service(failing)) as service:
        run = await end_of(service, "failing")
    assert run.state is RunState.FAILED
    assert run.failure.model_dump() == {
        "cause": "out_of_memory",
        "message": "out of memory",
        "hint": "less",
        "retryable": True,
    }
    assert failing.settled == []


async def test_the_handler_decides_how_a_run_with_an_unknown_outcome_ended(harness):
    failing = Failing(EngineUnreachable("gone"), outcome=RunResult(None, engine_state="FOUND"))
    async with running(harness.service(failing)) as service:
        run = await end_of(service, "unknown")
    assert (run.state, run.engine_state) == (RunState.SUCCEEDED, "FOUND")
    assert failing.settled == [run.run_id]


async def test_a_handler_that_fails_ends_the_run_without_showing_its_error_text(harness):
    async with running(harness.service(Failing(RuntimeError("password=hunter2")))) as service:
        run = await end_of(service, "broken")
    assert run.state is RunState.FAILED
    assert run.failure.cause is FailureCause.INTERNAL
    assert "hunter2" not in run.model_dump_json()


async def test_a_run_that_takes_too_long_times_out(harness):
    async with running(harness.service(RowWriter(harness), run_timeout=0.05)) as service:
        run = await end_of(service, "slow", spec={"seconds": 30})
    assert run.state is RunState.FAILED
    assert run.failure.cause is FailureCause.TIMEOUT
    assert run.engine_state == "GIVEN UP"
    assert await harness.rows("slow") == []


async def test_equal_work_joins_the_open_run_and_runs_again_after_its_end(harness, runs):
    spec = {"seconds": 0.3}
    many = await asyncio.gather(
        *(runs.start(*request("joined", spec=spec, fingerprint="f")) for _ in range(8))
    )
    assert len({started.run.run_id for started in many}) == 1
    assert sum(not started.joined for started in many) == 1
    other = await runs.start(*request("joined", spec=spec, fingerprint="other"))
    assert not other.joined
    await runs.wait(many[0].run.run_id, 30)
    again = await runs.start(*request("joined", spec=spec, fingerprint="f"))
    assert not again.joined
    await runs.wait(again.run.run_id, 30)
    assert len(await harness.rows("joined")) == 3


async def test_equal_work_requested_from_two_replicas_at_once_is_one_run(harness):
    async with (
        running(harness.service(RowWriter(harness))) as one,
        running(harness.service(RowWriter(harness))) as two,
    ):
        for number in range(5):
            target = f"both_{number}"
            wish = request(target, spec={"seconds": 0.2}, fingerprint="f")
            many = await asyncio.gather(*(service.start(*wish) for service in (one, two) * 2))
            assert len({started.run.run_id for started in many}) == 1
            for service in (one, two):
                run = await service.wait(many[0].run.run_id, 30)
                assert run.state is RunState.SUCCEEDED
            assert await harness.rows(target) == [run.run_id]


async def test_equal_work_is_done_again_when_other_work_comes_between(harness):
    """Otherwise the table would keep the result of the other work."""
    async with (
        running(harness.service(RowWriter(harness))) as one,
        running(harness.service(RowWriter(harness))) as two,
    ):
        # After 1.7 s the other replica checks the lock only once a second.
        orders = [(0.5, one, one, one), (0.5, one, two, one), (1.7, one, two, one)]
        for number, (seconds, first, between, last) in enumerate(orders):
            target = f"between_{number}"
            slow = request(target, spec={"seconds": seconds}, fingerprint="x")
            x = await first.start(*slow)
            y = await between.start(*request(target, fingerprint="y"))
            again = await asyncio.gather(*(last.start(*slow) for _ in range(3)))
            assert sorted(started.joined for started in again) == [False, True, True]
            assert len({started.run.run_id for started in again}) == 1
            await last.wait(again[0].run.run_id, 30)
            ran = [x.run.run_id, y.run.run_id, again[0].run.run_id]
            assert sorted(await harness.rows(target)) == sorted(ran)
            ended = [await last.get(run_id) for run_id in ran]
            assert [run.state for run in ended] == [RunState.SUCCEEDED] * 3
            assert ended[0].started_at < ended[1].started_at < ended[2].started_at


async def test_an_id_chosen_before_is_one_run_however_often_it_is_started(harness, runs):
    work, _ = request("chosen")
    submission = Submission(ME, IdempotencyKey("k", ME, "hash"))
    chosen = (work, submission, "0123456789abcdef")
    many = await asyncio.gather(*(runs.start(*chosen) for _ in range(6)))
    assert sum(not started.joined for started in many) == 1
    await runs.wait("0123456789abcdef", 30)
    assert (await runs.start(*chosen)).joined
    assert await harness.rows("chosen") == ["0123456789abcdef"]


async def test_runs_of_one_target_run_one_at_a_time_over_two_replicas(harness):
    async with (
        running(harness.service(Idle(), max_running_per_engine=8)) as one,
        running(harness.service(Idle(), max_running_per_engine=8)) as two,
    ):
        services = [one, two] * 25
        started = await asyncio.gather(
            *(service.start(*request("busy", spec={"seconds": 0.005})) for service in services)
        )
        ended = await asyncio.gather(
            *(s.wait(w.run.run_id, 150) for s, w in zip(services, started, strict=True))
        )
    assert {run.state for run in ended} == {RunState.SUCCEEDED}
    assert len({run.run_id for run in ended}) == 50
    intervals = sorted((run.started_at, run.finished_at) for run in ended)
    for (_, finished), (next_started, _) in pairwise(intervals):
        assert finished <= next_started


async def test_a_run_waits_for_the_lock_that_another_replica_holds(harness):
    holding = Idle()
    async with running(harness.service(holding)) as one, running(harness.service(Idle())) as two:
        first = await one.start(*request("held", spec={"seconds": 1.5}))
        await holding.begun.wait()
        second = await two.start(*request("held"))
        before = await one.wait(first.run.run_id, 30)
        after = await two.wait(second.run.run_id, 30)
    assert before.finished_at <= after.started_at


async def test_concurrent_runs_of_a_kind_do_not_exceed_the_limit(harness):
    driver = RowWriter(harness)
    most = 0
    async with running(harness.service(driver, max_running_per_engine=2)) as service:
        started = [
            (await service.start(*request(f"many_{number}", spec={"seconds": 0.05}))).run.run_id
            for number in range(6)
        ]
        pending = {asyncio.create_task(service.wait(run_id, 30)) for run_id in started}
        while pending:
            _, pending = await asyncio.wait(pending, timeout=0.01)
            most = max(most, len(driver.running))
    assert most == 2


async def test_beyond_max_queued_a_run_is_refused_with_retry_after(harness):
    async with running(harness.service(Idle(), max_queued=2)) as service:
        for number in range(2):
            await service.start(*request(f"full_{number}", spec={"seconds": 30}))
        with pytest.raises(TooManyRequests, match="MAX_QUEUED") as refused:
            await service.start(*request("full_2"))
        assert refused.value.retry_after == 5
        for run in (await service.list(limit=2)).runs:
            await service.cancel(run.run_id, ME)


async def test_a_cancelled_run_stops_and_changes_nothing(harness):
    driver = RowWriter(harness)
    async with running(harness.service(driver)) as service:
        started = await service.start(*request("stopped", spec={"seconds": 30}))
        await driver.begun.wait()
        wished = await service.cancel(started.run.run_id, ME)
        assert wished.cancel_requested_at is not None
        run = await service.wait(started.run.run_id, 10)
        assert run.state is RunState.CANCELLED
        assert run.failure.cause is FailureCause.CANCELLED
        assert run.engine_state == "GIVEN UP"
        assert driver.running == set()
        assert await harness.rows("stopped") == []
        assert await service.cancel(run.run_id, ME) == run


async def test_a_queued_run_is_cancelled_without_running(harness):
    driver = RowWriter(harness)
    async with running(harness.service(driver)) as service:
        first = await service.start(*request("queue", spec={"seconds": 0.5}))
        second = await service.start(*request("queue"))
        await service.cancel(second.run.run_id, ME)
        cancelled = await service.wait(second.run.run_id, 10)
        assert (cancelled.state, cancelled.started_at) == (RunState.CANCELLED, None)
        assert (await service.wait(first.run.run_id, 10)).state is RunState.SUCCEEDED
        assert (await end_of(service, "queue")).state is RunState.SUCCEEDED


async def test_a_cancel_after_the_commit_does_not_change_the_outcome(harness):
    committed = CommittedThenSlow(harness)
    async with running(harness.service(committed)) as service:
        started = await service.start(*request("too_late"))
        await committed.written.wait()
        await service.cancel(started.run.run_id, ME)
        run = await service.wait(started.run.run_id, 10)
    assert (run.state, run.failure) == (RunState.SUCCEEDED, None)
    assert run.cancel_requested_at is not None
    assert await harness.rows("too_late") == [run.run_id]


async def test_any_replica_can_cancel_read_and_follow_a_run(harness):
    driver = RowWriter(harness)
    async with running(harness.service(driver)) as one, running(harness.service(Idle())) as two:
        started = await one.start(*request("remote", spec={"seconds": 30}))
        run_id = started.run.run_id
        await driver.begun.wait()
        following = asyncio.create_task(all_events(two, run_id))
        await until(lambda: two.logs(run_id))
        assert await two.logs(run_id) == f"computing {run_id}\n"
        assert (await two.using("nothing")) is None
        await two.cancel(run_id, ME)
        run = await two.wait(run_id, 10)
        assert run.state is RunState.CANCELLED
        reasons = [event.reason for event in (await following)[:-1]]
        assert reasons == ["Started", "COMPUTING", "CancelRequested", "Cancelled"]


async def test_events_resume_after_the_last_one_seen_and_end_with_the_run(runs):
    run = await end_of(runs, "followed")
    events = await all_events(runs, run.run_id, after=run.events[0].id)
    assert events == [*run.events[1:], RunEnd(run)]


async def test_logs_are_readable_during_and_after_the_run(harness, runs):
    idle = Idle()
    async with running(harness.service(idle)) as service:
        text = "\n".join(f"line {number}" for number in range(100))
        started = await service.start(*request("logged", spec={"seconds": 0.3, "log": text}))
        await idle.begun.wait()
        await until(lambda: service.logs(started.run.run_id))
        assert await service.logs(started.run.run_id, 1) == "line 99\n"
        await service.wait(started.run.run_id, 10)
        assert await service.logs(started.run.run_id, 2) == "line 98\nline 99\n"
    assert await runs.logs(started.run.run_id) == text + "\n"


async def test_an_ended_run_moves_into_history_and_is_always_listed_once(harness, monkeypatch):
    monkeypatch.setattr("app.runs.archive.KEPT_ENDED", 0.2)
    async with (
        running(harness.service(Idle())) as service,
        running(harness.service(Idle())) as other,
    ):
        run = await end_of(service, "moving", subject_id="mover")

        async def seen() -> bool:
            for reader in (service, other):
                page = await reader.list(target="moving")
                assert [found.run_id for found in page.runs] == [run.run_id]
                assert page.total_count == 1
                assert (await reader.get(run.run_id)).state is RunState.SUCCEEDED
                assert (await reader.latest(["mover"]))["mover"].run_id == run.run_id
            return await harness.store.get(open_key(run.run_id)) is None

        await until(seen)
        again = await end_of(service, "moving", subject_id="mover")
        assert (await other.latest(["mover"]))["mover"].run_id == again.run_id


async def test_the_newest_ended_runs_are_parsed_in_a_thread(harness, monkeypatch):
    monkeypatch.setattr("app.runs.archive.KEPT_ENDED", 0.2)
    threads: list[threading.Thread] = []
    read = EndedRun.read

    def seen(ended: EndedRun) -> Run:
        threads.append(threading.current_thread())
        return read(ended)

    async with running(harness.service(RowWriter(harness))) as service:
        run = await end_of(service, "parsed", subject_id="parsed")

        async def archived() -> bool:
            return await harness.store.get(open_key(run.run_id)) is None

        await until(archived)
        monkeypatch.setattr(EndedRun, "read", seen)
        assert (await service.latest(["parsed"]))["parsed"] == run
        table = harness.table("parsed")
        assert (await service.latest_success([table]))[table] == run
    assert len(threads) == 2
    assert threading.main_thread() not in threads


async def test_lists_are_newest_first_filtered_and_paged_by_cursor(runs):
    run_ids = [(await end_of(runs, "paged", subject_id=f"p{n}")).run_id for n in range(5)]
    first = await runs.list(target="paged", limit=2)
    second = await runs.list(target="paged", limit=2, cursor=first.next_cursor)
    await end_of(runs, "paged")  # a new one does not shift the following pages
    third = await runs.list(target="paged", limit=2, cursor=second.next_cursor)
    pages = [run.run_id for page in (first, second, third) for run in page.runs]
    assert pages == run_ids[::-1]
    assert (first.total_count, third.next_cursor) == (5, None)
    assert [r.run_id for r in (await runs.list(subject_id="p3")).runs] == [run_ids[3]]
    assert (await runs.list(target="paged", state=RunState.FAILED)).runs == ()


async def test_the_newest_success_of_a_table_is_found_by_its_name(harness, runs):
    name = harness.table("lineage")
    await end_of(runs, "lineage")
    newest = await end_of(runs, "lineage")
    assert (await runs.latest_success([name]))[name].run_id == newest.run_id
    assert name not in await runs.latest_success(["gold.other"])


async def test_a_subject_is_in_use_until_its_run_ends(harness):
    async with running(harness.service(Idle())) as service:
        started = await service.start(*request("used", subject_id="u", spec={"seconds": 0.2}))
        assert (await service.using("u")).run_id == started.run.run_id
        await service.wait(started.run.run_id, 10)
        assert await service.using("u") is None


async def test_an_unknown_run_is_not_found(runs):
    for run_id in ("0" * 32, "../../secret", "x"):
        with pytest.raises(NotFound):
            await runs.get(run_id)


async def test_runs_are_accepted_followed_and_ended_during_a_catalog_outage(harness):
    gone = replace(harness.lake, catalog=replace(harness.lake.catalog, uri="http://127.0.0.1:9"))
    away = open_runs_harness(gone)
    async with running(away.service(Idle())) as service:
        run = await end_of(service, "no_catalog")
        assert run.state is RunState.SUCCEEDED
        assert (await service.get(run.run_id)).state is RunState.SUCCEEDED
        with pytest.raises(EngineUnreachable):
            await service.list()
    async with running(harness.service(Idle())) as service:
        await until(lambda: is_archived(service, run.run_id))


async def test_a_stopped_gateway_leaves_its_runs_to_the_next_one_at_once(harness):
    first = harness.service(RowWriter(harness))
    await first.open()
    long = await first.start(*request("left", spec={"seconds": 30}))
    queued = await first.start(*request("left"))
    await until(lambda: is_running(first, long.run.run_id))
    await first.close(grace=0.1)
    with pytest.raises(EngineUnreachable):
        await first.start(*request("left"))
    async with running(harness.service(RowWriter(harness))) as second:
        lost = await second.wait(long.run.run_id, 15)
        assert (lost.state, lost.failure.cause) == (RunState.FAILED, FailureCause.LOST)
        assert lost.failure.retryable
        assert lost.epoch == 1
        assert (await second.wait(queued.run.run_id, 15)).state is RunState.SUCCEEDED
    assert await harness.rows("left") == [queued.run.run_id]


async def test_an_owner_that_lost_its_run_can_neither_publish_nor_end_it(harness):
    driver = RowWriter(harness)
    async with running(harness.service(driver)) as slow:
        started = await slow.start(*request("stolen", spec={"seconds": 0.6}))
        await driver.begun.wait()
        run_id = started.run.run_id
        stored = await harness.store.get(open_key(run_id))
        run = Run.model_validate_json(stored.body)
        stolen = run.model_copy(
            update={"owner": "another", "epoch": run.epoch + 1, "version": run.version + 1}
        )
        await harness.store.put(open_key(run_id), stolen.model_dump_json().encode())
        await until(lambda: not slow._open_runs.owned and not driver.running)
    assert await harness.rows("stolen") == []
    stored = await harness.store.get(open_key(run_id))
    assert Run.model_validate_json(stored.body).state is not RunState.SUCCEEDED
    async with running(harness.service(RowWriter(harness))) as next_one:
        await next_one.wait(run_id, 15)


async def is_archived(service, run_id: str) -> bool:
    await service._reader._history.refresh()
    return run_id in service._reader._history


async def is_running(service, run_id: str) -> bool:
    return (await service.get(run_id)).state is RunState.RUNNING


async def all_events(service, run_id: str, after: int = 0):
    return [event async for event in service.events(run_id, after)]


class Failing:
    def __init__(self, error: Exception, outcome: RunResult | None = None) -> None:
        self.error, self.outcome = error, outcome
        self.settled: list[str] = []

    async def execute(self, _: Run, control: RunControl) -> RunResult:
        control.log(str(self.error))
        raise self.error

    async def reconcile(self, run: Run) -> RunResult | None:
        self.settled.append(run.run_id)
        return self.outcome

    def final_engine_state(self, ended: Run) -> str | None:
        return ended.engine_state


class CommittedThenSlow(RowWriter):
    def __init__(self, harness: RunsHarness) -> None:
        super().__init__(harness)
        self.written = asyncio.Event()

    async def execute(self, run: Run, control: RunControl) -> RunResult:
        control.log("committing")
        await self._append(run)
        self.written.set()
        await asyncio.sleep(30)
        raise AssertionError("was not cancelled")
