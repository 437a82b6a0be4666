"""A warm worker: a Python process that answers one message after the other."""

import asyncio
import contextlib
import json
import math
import secrets
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import app.errors
import app.sandbox.run_module
from app.errors import EngineFailed
from app.failure import FailureCause
from app.processes import worker_spans
from app.processes.child import PIPE_LIMIT, ChildProcess, Limits
from app.processes.errors import WorkerDied, WorkerError, WorkerTimeout
from app.processes.family import family
from app.processes.worker_main import CALL
from app.processes.worker_messages import Message, WrongMessage, checked_spans, read_message
from app.redaction import scope, within
from app.sandbox.policy import Sandbox
from app.telemetry.calls import SILENT, Telemetry
from app.telemetry.outcomes import Outcome

OnEvent = Callable[[Message], None]
OnAsk = Callable[[Message], Coroutine[Any, Any, Message]]

RUN_MODULE = app.sandbox.run_module.__file__
START_TIMEOUT = 60.0
CLOSE_GRACE = 3.0
TURN_MESSAGES, TURN_BYTES = 32, 64 * 1024
"""What a worker may send before the event loop continues with other work. Reading a line that has
already arrived does not yield to it."""
MEMORY_POLL = 0.5


class WorkerProcess:
    """Answers one call at a time. A call that is cancelled or takes too long kills the process,
    because there is no other way to stop it."""

    def __init__(
        self,
        child: ChildProcess,
        max_rss: int | None = None,
        telemetry: Telemetry = SILENT,
        engine: str = "worker",
    ) -> None:
        self._child = child
        self._telemetry = telemetry
        self._engine = engine
        self._max_rss = max_rss
        self._measured, self._measured_at = 0, -math.inf
        self._outgrown = False
        self._busy = False
        self._killed = False
        self._turn_messages = self._turn_bytes = 0
        self.calls = 0
        self.started_at = time.monotonic()

    @classmethod
    async def start(
        cls,
        module: str,
        *,
        name: str,
        log_path: Path,
        handshake: Message,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        sandbox: Sandbox | None = None,
        max_rss: int | None = None,
        telemetry: Telemetry = SILENT,
        engine: str = "worker",
        timeout: float = START_TIMEOUT,  # noqa: ASYNC109 — it kills the process, too
    ) -> "WorkerProcess":
        """`module` calls `app.processes.worker_main.serve`. Secrets belong in `handshake`, not
        in `env`.
        During a call it may have `max_rss` resident bytes, including its own children. A worker
        that takes more is killed, and the call raises `out_of_memory`. Its calls are counted as
        those of `engine`."""
        root = Path(app.errors.__file__).parents[1]
        path = {"PYTHONPATH": str(root)} if sandbox is None else {}
        run = [] if sandbox is None else [RUN_MODULE]
        child = await ChildProcess.start(
            [sys.executable, *run, "-m", module],
            name=name,
            env={**path, "PYTHONUNBUFFERED": "1", **(env or {})},
            log_path=log_path,
            pipe_stdin=True,
            pipe_stdout=True,
            limits=limits,
            sandbox=sandbox,
            protocol=True,
        )
        worker = cls(child, max_rss, telemetry, engine)
        with within(None):  # it may also serve other callers
            await worker._talk(handshake, "ready", timeout)
        return worker

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return not self._killed and self._child.alive

    @property
    def age(self) -> float:
        return time.monotonic() - self.started_at

    def recent_rss(self) -> int:
        """Return what `rss` was at most `MEMORY_POLL` seconds ago: measuring costs as much as a
        small call."""
        now = time.monotonic()
        if now - self._measured_at > MEMORY_POLL:
            self._measured, self._measured_at = self.rss(), now
        return self._measured

    def rss(self) -> int:
        """Return the resident bytes of the process, its children and its session, or 0 if it is
        gone."""
        import psutil

        total = 0
        for member in family(self.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += psutil.Process(member).memory_info().rss
        return total

    async def call(
        self,
        message: Message,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 — it kills the process, too
        on_event: OnEvent | None = None,
        on_ask: OnAsk | None = None,
        max_rss: int | None = None,
    ) -> Message:
        """Send a message and return the result. Raises `WorkerError` (the worker survives, unless
        it took too much memory), `WorkerDied` or `WorkerTimeout`. `max_rss` applies to this call
        and later ones.

        `on_ask` answers the questions that the worker asks during the call, one after the other.
        If it raises an `AsgardError`, the worker gets the error's text and continues. Every other
        error ends the call and the worker. If the worker dies, the `on_ask` it waits for is
        cancelled."""
        self.calls += 1
        self._max_rss = max_rss or self._max_rss
        with self._telemetry.call(self._engine, message["op"]) as call:
            try:
                if parent := self._telemetry.traceparent():
                    message = {**message, worker_spans.PARENT_SPAN: parent.split("-")[2]}
                result: Message = await self._talk(message, "result", timeout, on_event, on_ask)
            except WorkerTimeout:
                call.outcome = Outcome.TIMEOUT
                raise
            except WorkerError as error:
                call.outcome = Outcome.of(error.to_asgard() or error)
                raise
            return result

    def kill(self) -> None:
        self._killed = True
        self._child.kill()

    async def close(self) -> None:
        """Close the worker's stdin, which makes it end."""
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_GRACE):
                await self._child.wait()
        except TimeoutError:
            await self._child.terminate(grace=0.5)
        except asyncio.CancelledError:
            self.kill()
            raise

    def log_tail(self, lines: int = 50) -> str:
        return self._child.log_tail(lines)

    async def _talk(
        self,
        message: Message,
        until: str,
        seconds: float | None,
        on_event: OnEvent | None = None,
        on_ask: OnAsk | None = None,
    ) -> Any:
        if self._busy:
            raise RuntimeError(f"{self._child.name} is in the middle of another call")
        self._busy = True
        self._child.print_for(scope())
        intact = False
        watching = asyncio.create_task(self._watch_memory())
        try:
            async with asyncio.timeout(seconds) as deadline:
                answer = await self._exchange(message, until, on_event, on_ask)
            intact = True
        except TimeoutError:
            if deadline.expired():
                raise WorkerTimeout(f"{self._child.name} took longer than {seconds} s") from None
            raise
        except WorkerError:
            intact = until != "ready" and not self._outgrown
            raise
        finally:
            watching.cancel()
            self._busy = False
            if not intact:
                self.kill()
        return answer

    async def _exchange(
        self, message: Message, until: str, on_event: OnEvent | None, on_ask: OnAsk | None
    ) -> Any:
        call = secrets.token_hex(8)
        await self._send({**message, CALL: call})
        fault = None
        try:
            while answer := await self._received(call):
                if "event" in answer:
                    if not self._export_spans(answer["event"]) and on_event:
                        on_event(answer["event"])
                elif "ask" in answer:
                    await self._send(await self._reply(answer["ask"], on_ask))
                elif "error" in answer:
                    raise WorkerError(answer["error"])
                elif until in answer:
                    return answer[until]
                else:
                    raise WrongMessage(f"a message without {until}")
        except WrongMessage as error:
            fault = str(error)
        self.kill()
        exit_code = await self._child.wait()
        if self._outgrown:
            raise WorkerError(_out_of_memory(self._max_rss).to_json())
        raise WorkerDied(self._child.name, exit_code, self._child.log_tail(), fault)

    async def _received(self, call: str) -> Message | None:
        """Return the next message, or None if the process has ended. Raises `WrongMessage`."""
        try:
            line = await self._child.stdout.readline()
        except ValueError:
            raise WrongMessage(f"a line of more than {PIPE_LIMIT >> 20} MiB") from None
        if not line:
            return None
        self._turn_messages += 1
        self._turn_bytes += len(line)
        if self._turn_messages >= TURN_MESSAGES or self._turn_bytes >= TURN_BYTES:
            self._turn_messages = self._turn_bytes = 0
            await asyncio.sleep(0)
        answer = await read_message(line)
        if answer[CALL] != call:
            raise WrongMessage("an answer to an earlier call")
        return answer

    async def _send(self, message: Message) -> None:
        with contextlib.suppress(ConnectionError):  # its death appears as the end of its answers
            self._child.stdin.write(json.dumps(message).encode() + b"\n")
            await self._child.stdin.drain()

    async def _reply(self, question: Message, on_ask: OnAsk | None) -> Message:
        if on_ask is None:
            return {"refused": "This call does not answer questions."}
        answering = asyncio.create_task(on_ask(question))
        dying = asyncio.create_task(self._child.wait())
        try:
            await asyncio.wait({answering, dying}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                return {"refused": "The worker has died."}
            return {"answer": answering.result()}
        except app.errors.AsgardError as error:
            return {"refused": error.detail}
        finally:
            dying.cancel()
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    def _export_spans(self, event: Message) -> bool:
        """Export the spans of an event. Return False if the event has none."""
        match event:
            case {worker_spans.EVENT: spans}:
                self._telemetry.worker_spans(checked_spans(spans), self._engine, self.pid)
                return True
            case _:
                return False

    async def _watch_memory(self) -> None:
        """Kill the worker when it takes too much memory. A limit of the address space would not
        work, because Rust and Go reserve far more than they use."""
        while self._max_rss is not None:
            await asyncio.sleep(MEMORY_POLL)
            if await asyncio.to_thread(self.rss) > self._max_rss:
                self._outgrown = True
                self.kill()


def _out_of_memory(max_rss: int | None) -> EngineFailed:
    allowed = (max_rss or 0) // 2**20
    return EngineFailed(
        f"The worker took more than the {allowed} MB of memory that it may use.",
        cause=FailureCause.OUT_OF_MEMORY,
        hint="Read or build less at once: fewer rows or columns, shorter lists and texts.",
    )
