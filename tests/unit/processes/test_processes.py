import ast
import asyncio
import contextlib
import json
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from app.errors import EngineFailed, EngineUnreachable, SqlNotParsed
from app.failure import FailureCause
from app.processes import (
    ChildProcess,
    Limits,
    WorkerDied,
    WorkerError,
    WorkerPool,
    WorkerProcess,
    WorkerTimeout,
    child,
)
from app.processes.worker_messages import MOST_PARTS, WrongMessage, read_message
from app.telemetry.calls import Telemetry
from app.telemetry.metrics import Metrics
from app.warehouse.worker_calls import Artifacts, call_worker
from tests.unit.processes.workers import WORKER

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[3]


async def until(condition: Callable[[], bool], within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def python(code: str, log: Path, **options) -> ChildProcess:
    return await ChildProcess.start(
        [sys.executable, "-c", code], name="test", log_path=log, **options
    )


# Child processes


async def test_a_child_sees_only_what_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    code = "import os; print(sorted(os.environ))"
    process = await python(code, tmp_path / "log", env={"GIVEN": "1"})
    assert await process.wait() == 0
    variables = set(ast.literal_eval(process.log_tail()))
    assert "GIVEN" in variables
    assert variables <= {"GIVEN", "LC_CTYPE", *child.INHERITED}


async def test_a_childs_log_is_private_and_its_tail_has_only_its_own_lines(tmp_path):
    log = tmp_path / "logs" / "child.log"
    await (await python("print('of the first')", log)).wait()
    second = await python("print('one'); print('two'); print('three')", log)
    await second.wait()
    assert second.log_tail() == "one\ntwo\nthree"
    assert second.log_tail(lines=2) == "two\nthree"
    assert log.read_text().startswith("of the first\n")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


async def test_a_childs_log_keeps_the_newest_lines_and_stays_small(tmp_path, monkeypatch):
    monkeypatch.setattr(child, "LOG_LIMIT", 10_000)
    monkeypatch.setattr(child, "LOG_CHECK_SECONDS", 0.02)
    log = tmp_path / "log"
    code = (
        "import time\nfor i in range(20):\n"
        "    print('\\n'.join(f'line {i} {j}' for j in range(300)), flush=True)\n"
        "    time.sleep(0.03)\nprint('end', flush=True)\ntime.sleep(60)"
    )
    process = await python(code, log)
    await until(lambda: process.log_tail(1) == "end")
    await until(lambda: log.stat().st_size <= 10_000)
    assert process.log_tail(2) == "line 19 299\nend"
    await process.terminate(0)


async def test_a_child_is_asked_to_end_before_it_is_killed(tmp_path):
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    process = await python(code, tmp_path / "log")
    await until(lambda: process.log_tail() == "up")
    assert process.returncode is None
    assert await process.terminate(grace=10) == 3
    assert process.returncode == 3


async def test_a_child_that_will_not_end_is_killed_after_the_grace(tmp_path):
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    process = await python(code, tmp_path / "log")
    await until(lambda: process.log_tail() == "up")
    assert await process.terminate(grace=0.1) == -signal.SIGKILL


async def test_grandchildren_end_with_the_child(tmp_path):
    code = "import subprocess\nprint(subprocess.Popen(['sleep', '600']).pid, flush=True)\n"
    process = await python(code, tmp_path / "log")
    assert await process.wait() == 0
    grandchild = int(process.log_tail())
    await until(lambda: not is_running(grandchild))


async def test_a_missing_program_cannot_be_started(tmp_path):
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        await ChildProcess.start(["no-such-program"], name="test", log_path=tmp_path / "log")


async def test_limits_apply_in_the_child(tmp_path):
    code = (
        "import resource as r\n"
        "print([r.getrlimit(k)[0] for k in (r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CORE)])"
    )
    limits = Limits(open_files=64, file_bytes=12345)
    process = await python(code, tmp_path / "log", limits=limits)
    await process.wait()
    assert process.log_tail() == "[64, 12345, 0]"


async def test_pipes_pass_on_what_is_written_to_them(tmp_path):
    code = "import sys; print(sys.stdin.read().upper()); print('to the log', file=sys.stderr)"
    process = await python(code, tmp_path / "log", pipe_stdin=True, pipe_stdout=True)
    process.stdin.write(b"hello")
    process.stdin.close()
    assert await process.stdout.read() == b"HELLO\n"
    await process.wait()
    assert process.log_tail() == "to the log"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal")
async def test_children_die_with_a_gateway_that_is_killed(tmp_path):
    gateway = tmp_path / "gateway.py"
    gateway.write_text(
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from app.processes import ChildProcess\n"
        "async def main():\n"
        "    child = await ChildProcess.start(['sleep', '600'], name='sleep')\n"
        "    print(child.pid, flush=True)\n"
        "    await child.wait()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(gateway),
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
    )
    pid = int(await process.stdout.readline())
    await until(lambda: psutil.Process(pid).name() == "sleep")  # and not still starting
    process.kill()
    await process.wait()
    await until(lambda: not is_running(pid), within=5)


# Workers


@pytest.fixture
async def worker(tmp_path) -> AsyncIterator[WorkerProcess]:
    worker = await start(tmp_path)
    yield worker
    await worker.close()


async def start(tmp_path: Path, **handshake) -> WorkerProcess:
    log = tmp_path / "worker.log"
    return await WorkerProcess.start(WORKER, name="worker", log_path=log, handshake=handshake)


async def test_output_of_libraries_goes_to_the_log_and_not_into_answers(tmp_path):
    worker = await start(tmp_path, lake="here")
    answer = await worker.call({"op": "echo", "value": "é" * 1_000_000})
    assert answer == {"got": "é" * 1_000_000, "handshake": {"lake": "here"}, "stdin": ""}
    assert set(worker.log_tail().splitlines()) == {
        "noise while imported",
        "noise in a handler",
        "noise of a grandchild",
    }
    await worker.close()


async def test_events_arrive_in_order_before_the_result(worker):
    events = []
    result = await worker.call({"op": "count", "to": 5}, on_event=events.append)
    assert events == [{"number": number} for number in range(5)]
    assert result == {"counted": 5}


async def test_an_asgard_error_comes_back_as_the_same_class(worker):
    with pytest.raises(WorkerError) as caught:
        await worker.call({"op": "fail"})
    error = caught.value.to_asgard()
    assert type(error) is SqlNotParsed
    assert (error.detail, error.hint) == ("no such word", "try SELECT")
    assert error.members == {"position": {"line": 2, "column": 7}}
    with pytest.raises(WorkerError) as caught:
        await worker.call({"op": "fail_engine"})
    error = caught.value.to_asgard()
    assert isinstance(error, EngineFailed)
    assert (error.cause, error.retryable) == (FailureCause.OUT_OF_MEMORY, True)


async def test_an_error_leaves_the_worker_alive_and_its_traceback_in_the_log(worker):
    with pytest.raises(WorkerError) as caught:
        await worker.call({"op": "no such"})
    assert caught.value.error["type"] == "KeyError"
    assert caught.value.to_asgard() is None
    assert "Traceback" in worker.log_tail()
    assert await worker.call({"op": "count", "to": 0}) == {"counted": 0}


async def test_the_error_of_a_dead_worker_has_its_exit_code_and_last_output(worker):
    with pytest.raises(WorkerDied) as caught:
        await worker.call({"op": "die"})
    assert caught.value.exit_code == 7
    assert caught.value.log_tail.endswith("last words")
    assert not worker.alive


async def test_a_call_that_takes_too_long_kills_the_worker(worker):
    pid, begun = worker.pid, time.monotonic()
    with pytest.raises(WorkerTimeout):
        await worker.call({"op": "sleep"}, timeout=0.2)
    assert time.monotonic() - begun < 8
    assert not worker.alive
    await until(lambda: not is_running(pid))


async def test_a_call_that_takes_too_much_memory_kills_the_worker_and_is_named_as_the_cause(worker):
    with pytest.raises(WorkerError) as outgrown:
        await worker.call({"op": "grow", "megabytes": 300}, max_rss=200 * 2**20)
    error = outgrown.value.to_asgard()
    assert isinstance(error, EngineFailed)
    assert error.cause is FailureCause.OUT_OF_MEMORY
    assert "200 MB" in error.detail
    assert not worker.alive
    await until(lambda: not is_running(worker.pid))


async def test_a_call_that_is_cancelled_kills_the_worker(worker):
    started = asyncio.Event()
    call = asyncio.create_task(worker.call({"op": "sleep"}, on_event=lambda _: started.set()))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not worker.alive
    await until(lambda: not is_running(worker.pid))


# Questions that a worker asks during a call


async def double(question: dict) -> dict:
    return {"doubled": question["value"] * 2}


async def test_a_worker_that_asks_in_the_middle_of_a_call_gets_the_answer(worker):
    value = "é" * 1_000_000
    call = {"op": "ask", "questions": [{"value": value}]}
    assert await worker.call(call, on_ask=double) == {"replies": [{"doubled": value * 2}]}
    assert await worker.call({"op": "count", "to": 0}) == {"counted": 0}


async def test_questions_of_many_threads_are_answered_one_after_the_other(worker):
    at_work = most = 0

    async def answer(question: dict) -> dict:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.01)
        at_work -= 1
        return question

    questions = [{"number": number} for number in range(8)]
    result = await worker.call({"op": "ask", "questions": questions}, on_ask=answer)
    assert sorted(result["replies"], key=lambda reply: reply["number"]) == questions
    assert most == 1


async def test_a_refusal_reaches_the_worker_which_continues(worker):
    async def refuse(question: dict) -> dict:
        raise EngineFailed("not this one")

    call = {"op": "ask", "questions": [{"value": 1}]}
    assert await worker.call(call, on_ask=refuse) == {"replies": [{"refused": "not this one"}]}
    assert await worker.call(call, on_ask=double) == {"replies": [{"doubled": 2}]}


async def test_a_call_without_an_answer_function_refuses_every_question(worker):
    result = await worker.call({"op": "ask", "questions": [{"value": 1}]})
    assert result == {"replies": [{"refused": "This call does not answer questions."}]}


async def test_an_answer_function_that_fails_ends_the_call_and_the_worker(worker):
    with pytest.raises(KeyError, match="value"):
        await worker.call({"op": "ask", "questions": [{}]}, on_ask=double)
    assert not worker.alive


async def test_the_death_of_a_worker_cancels_its_question(worker):
    given_up = asyncio.Event()

    async def never(question: dict) -> dict:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        return {}

    with pytest.raises(WorkerDied) as caught:
        await worker.call({"op": "ask_and_die"}, on_ask=never)
    assert caught.value.exit_code == 7
    assert given_up.is_set()


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_the_end_of_a_call_cancels_the_question_of_its_worker(worker, how):
    question_received, cancelled = asyncio.Event(), asyncio.Event()

    async def never(question: dict) -> dict:
        question_received.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return {}

    question = {"op": "ask", "questions": [{}]}
    timeout = 0.2 if how == "timeout" else None
    call = asyncio.create_task(worker.call(question, on_ask=never, timeout=timeout))
    await question_received.wait()
    if how == "cancel":
        call.cancel()
    with pytest.raises(WorkerTimeout if how == "timeout" else asyncio.CancelledError):
        await call
    assert cancelled.is_set()
    assert not worker.alive


async def test_a_worker_that_waits_for_an_answer_ends_when_the_gateway_is_gone():
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", WORKER, stdin=reader, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    os.close(reader)
    os.write(writer, b'{}\n{"op": "ask", "questions": [{}]}\n')
    while b"ask" not in await process.stdout.readline():
        pass
    os.close(writer)
    async with asyncio.timeout(5):
        assert await process.wait() == 1


async def test_a_worker_that_answers_twice_does_not_answer_the_next_call(worker):
    with pytest.raises(WorkerError, match="early"):
        await worker.call({"op": "answer_early", "value": "of the first call"})
    with pytest.raises(WorkerDied):
        await worker.call({"op": "echo", "value": 1})
    assert not worker.alive


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (
            '{"call": CALL, "error": {"problem": "engine-failed", "message": 5}}',
            "an invalid error.message",
        ),
        ('{"call": CALL, "error": 5}', "an invalid error"),
        ('{"call": CALL, "error": null}', "an invalid error"),
        ('{"call": CALL, "error": {"type": [], "message": ""}}', "an invalid error.type"),
        (
            '{"call": CALL, "error": {"problem": "conflict", "message": "", "cause": "magic"}}',
            "an invalid error.cause",
        ),
        (
            '{"call": CALL, "error": {"problem": "gone", "message": "", "members": {"hint": 1}}}',
            "an invalid error.members",
        ),
        (
            '{"call": CALL, "error": {"type": "", "message": "", "members": {'
            + ", ".join(f'"m{n}": 1' for n in range(101))
            + "}}}",
            "an invalid error.members",
        ),
        ('{"call": [], "result": {}}', "an invalid call"),
        ('{"result": {}}', "an invalid call"),
        ('{"call": CALL, "result": []}', "an invalid result"),
        ('{"call": CALL, "result": null}', "an invalid result"),
        ('{"call": CALL, "ready": true}', "a message without result"),
        ('{"call": CALL, "event": 5}', "an invalid event"),
        ('{"call": CALL, "event": {"spans": 5}}', "spans that are not a list"),
        ('{"call": CALL, "event": {"spans": [{"name": 5}]}}', "a span with an invalid name"),
        ('{"call": CALL, "ask": []}', "an invalid ask"),
        ("[CALL]", "a message with an invalid form"),
        ("no JSON", "a line that is not valid JSON"),
        ("[" * 60_000, "a line that is not valid JSON"),
        ("[" * 100_000, "a line that is not valid JSON"),
    ],
)
async def test_a_worker_that_sends_an_invalid_message_is_ended_with_the_reason(worker, line, fault):
    with pytest.raises(WorkerDied, match=r"^worker was ended because it sent ") as died:
        await worker.call({"op": "answer_with", "line": line})
    assert fault in died.value.fault
    assert not worker.alive


@pytest.mark.parametrize("event", [{"log": 5}, {"artifacts": ["manifest.json"]}])
async def test_a_builder_that_sends_an_invalid_event_is_ended(worker, event):
    artifacts = Artifacts(None, None)  # it fails at the check of the event's form
    line = json.dumps({"event": event})[:-1] + ', "call": CALL}'
    with pytest.raises(EngineFailed, match="was ended because it sent an event") as failed:
        await call_worker(worker, {"op": "answer_with", "line": line}, None, artifacts)
    assert failed.value.cause is FailureCause.LOST
    assert not worker.alive


async def test_a_worker_that_sends_too_long_a_line_is_ended_with_the_reason(worker):
    with pytest.raises(WorkerDied) as died:
        await worker.call({"op": "answer_with", "line": "x" * 1024, "times": 17 * 1024})
    assert died.value.fault == "a line of more than 16 MiB"
    assert not worker.alive


async def test_a_message_with_too_many_parts_is_refused():
    line = json.dumps({"call": "1", "result": {"many": [[]] * (MOST_PARTS + 1)}}).encode()
    with pytest.raises(WrongMessage, match="a message of more than 400000 parts"):
        await read_message(line)


async def test_the_event_loop_continues_while_a_long_line_is_read():
    """The C parser, here or in a thread, would give it only a turn or two."""
    result = {"deep": [{"a": [n, {"b": [str(n)]}]} for n in range(50_000)]}
    line = json.dumps({"call": "1", "result": result}).encode()
    reading = asyncio.create_task(read_message(line))
    turns = 0
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 20
    assert (await reading)["result"] == result


async def test_the_event_loop_continues_while_a_worker_floods_it():
    """Reading a line that has already arrived does not yield to other work."""
    small = json.dumps({"call": "1", "event": {"n": 1}}).encode() + b"\n"
    large = json.dumps({"call": "1", "event": {"n": "x" * 60_000}}).encode() + b"\n"
    for line, count in ((small, 3200), (large, 50)):
        stdout = asyncio.StreamReader()
        stdout.feed_data(line * count)
        stdout.feed_eof()
        worker = WorkerProcess(SimpleNamespace(stdout=stdout))

        async def read(worker: WorkerProcess = worker) -> None:
            while await worker._received("1"):
                pass

        reading = asyncio.create_task(read())
        turns = 0
        while not reading.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns >= 25
        await reading


async def test_a_worker_that_refuses_its_first_message_raises_an_error_and_ends(tmp_path):
    with pytest.raises(WorkerError, match="cannot work like this"):
        await start(tmp_path, broken=True)


async def test_a_busy_worker_ends_with_its_gateway_even_without_help_of_the_kernel(tmp_path):
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", WORKER, stdin=reader, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    os.close(reader)
    os.write(writer, b'{}\n{"op": "sleep"}\n')
    while b"pid" not in await process.stdout.readline():
        pass
    os.close(writer)
    async with asyncio.timeout(5):
        assert await process.wait() == 1


# The pool


def pool(tmp_path: Path, size: int = 1, **limits) -> WorkerPool:
    return WorkerPool(lambda: start(tmp_path), size, **limits)


async def pid_of_next(workers: WorkerPool) -> int:
    async with workers.acquire() as worker:
        await worker.call({"op": "count", "to": 0})
        return worker.pid


async def test_a_worker_is_used_again(tmp_path):
    workers = pool(tmp_path)
    assert await pid_of_next(workers) == await pid_of_next(workers)
    await workers.close()


async def test_a_worker_that_holds_too_much_memory_is_replaced(tmp_path):
    workers = pool(tmp_path, max_rss=2**20)
    assert await pid_of_next(workers) != await pid_of_next(workers)
    await workers.close()


async def test_a_worker_that_is_killed_while_it_starts_is_started_again(tmp_path):
    starts = 0

    async def factory() -> WorkerProcess:
        nonlocal starts
        starts += 1
        worker = await start(tmp_path)
        if starts == 1:
            worker.kill()
            await worker.call({"op": "count", "to": 0})
        return worker

    workers = WorkerPool(factory, 1)
    assert await pid_of_next(workers)
    assert starts == 2
    await workers.close()


async def test_a_pool_whose_workers_do_not_start_is_unreachable(tmp_path):
    async def factory() -> WorkerProcess:
        worker = await start(tmp_path)
        await worker.call({"op": "no such operation"})
        return worker

    with pytest.raises(EngineUnreachable, match="could not be started"):
        await pid_of_next(WorkerPool(factory, 1))


async def test_a_pool_never_has_more_workers_than_its_size(tmp_path):
    workers = pool(tmp_path, size=2)
    pids = await asyncio.gather(*(pid_of_next(workers) for _ in range(8)))
    assert len(set(pids)) <= 2
    await workers.close()


@pytest.mark.parametrize("limits", [{"max_calls": 1}, {"max_age": 0}, {"max_rss": 1}])
async def test_a_worker_beyond_its_limits_is_replaced(tmp_path, limits):
    workers = pool(tmp_path, **limits)
    first = await pid_of_next(workers)
    assert await pid_of_next(workers) != first
    await until(lambda: not is_running(first))
    await workers.close()


async def test_a_dead_worker_is_replaced(tmp_path):
    workers = pool(tmp_path)
    with pytest.raises(WorkerDied):
        async with workers.acquire() as worker:
            await worker.call({"op": "die"})
    first = await pid_of_next(workers)
    os.kill(first, signal.SIGKILL)
    await until(lambda: not is_running(first))
    assert await pid_of_next(workers) != first
    await workers.close()


async def test_closing_the_pool_ends_idle_and_busy_workers(tmp_path):
    workers = pool(tmp_path, size=2)
    await workers.warm()
    idle = await pid_of_next(workers)
    pids: list[int] = []

    async def stay_busy() -> None:
        async with workers.acquire() as worker:
            await worker.call({"op": "sleep"}, on_event=lambda e: pids.append(e["pid"]))

    busy = [asyncio.create_task(stay_busy()) for _ in range(2)]
    await until(lambda: len(pids) == 2)
    assert idle in pids
    await workers.close()
    assert not any(is_running(pid) for pid in pids)
    outcomes = await asyncio.gather(*busy, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [WorkerDied, WorkerDied]


async def test_calls_that_wait_for_a_worker_are_counted(tmp_path):
    metrics = Metrics()
    workers = pool(tmp_path, engine="dbt", telemetry=Telemetry(metrics))

    def waiting() -> float | None:
        labels = {"engine": "dbt"}
        return metrics.registry.get_sample_value("asgard_engine_calls_waiting", labels)

    async with workers.acquire():
        others = [asyncio.create_task(pid_of_next(workers)) for _ in range(3)]
        await until(lambda: waiting() == 3)
        others[0].cancel()
        await until(lambda: waiting() == 2)
    assert len(set(await asyncio.gather(*others[1:]))) == 1
    assert waiting() == 0
    await workers.close()
