"""The worker's side of `app.processes.WorkerProcess`: JSON lines in, JSON lines out.

    if __name__ == "__main__":
        serve(open_worker)

`open_worker(handshake)` gets the first message and returns the handlers by name; a message
`{"op": name, …}` goes to its handler, whose result is the answer. During a call, a handler may
ask the gateway a question and wait for the reply. Nothing heavy is imported here, and everything
that is printed goes to the log.
"""

import gc
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from app.errors import AsgardError
from app.processes.launch import PROTOCOL_FD
from app.processes.worker_spans import EVENT, PARENT_SPAN, spans_of_call
from app.shorten import LONGEST_DETAIL, LONGEST_TEXT, shortened

Message = dict[str, Any]
Emit = Callable[[Message], None]


class Refused(Exception):
    """The gateway refused a handler's question. The text gives the reason."""


class GatewayChannel:
    """Lets a handler send events and questions to the gateway during a call."""

    def __init__(self, channel: "_Channel") -> None:
        self._channel = channel

    def __call__(self, event: Message) -> None:
        if isinstance(event.get("log"), str):
            event = {**event, "log": shortened(event["log"], LONGEST_TEXT)}
        self._channel.send({"event": event})

    def ask(self, question: Message) -> Message:
        """Wait for the answer, in any thread. Raises `Refused`."""
        reply = self._channel.ask(question)
        if "answer" not in reply:
            raise Refused(str(reply.get("refused")))
        answer: Message = reply["answer"]
        return answer


Handler = Callable[[Message, GatewayChannel], Message]
Handlers = Mapping[str, Handler]

CALL = "call"
"""The id of a call, in its message and in every line that answers it."""
EXIT_GRACE = 1.0


def serve(open_worker: Callable[[Message], Handlers]) -> None:
    """Answer calls until the gateway closes stdin. If that happens during a call, end the
    process."""
    channel = _Channel()
    handshake = channel.receive()
    if handshake is None:
        return
    gc.disable()  # objects loaded before `freeze` live as long as the process
    try:
        handlers = open_worker(handshake)
    except Exception as error:  # noqa: BLE001 — the worker's outer edge
        channel.send({"error": _described(error)})
        return
    gc.freeze()
    gc.enable()
    channel.send({"ready": True})
    while (message := channel.receive()) is not None:
        channel.send(_answer(handlers, message, channel))


def _answer(handlers: Handlers, message: Message, channel: "_Channel") -> Message:
    spans: list[Message] = []
    try:
        with spans_of_call(message.pop(PARENT_SPAN, None), message["op"]) as spans:
            result = handlers[message["op"]](message, GatewayChannel(channel))
        json.dumps(result)  # a result that is not JSON is an error of its handler
        answer = {"result": result}
    except Exception as error:  # noqa: BLE001 — the worker's outer edge
        answer = {"error": _described(error)}
    if spans:
        channel.send({"event": {EVENT: spans}})
    return answer


class _Channel:
    def __init__(self) -> None:
        inherited = os.environ.pop(PROTOCOL_FD, None)
        descriptor = os.dup(1) if inherited is None else int(inherited)
        os.set_inheritable(descriptor, False)
        os.dup2(2, 1)
        self._out = os.fdopen(descriptor, "w", encoding="utf-8")
        self._in = os.fdopen(os.dup(0), "rb")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._call: str | None = None
        self._writing = threading.Lock()
        self._asking = threading.Lock()
        threading.Thread(target=self._read, name="worker stdin", daemon=True).start()

    def receive(self) -> Message | None:
        """Return the next call. Everything sent from then on belongs to it."""
        message = self._messages.get()
        if message is not None:
            self._call = message.pop(CALL, None)
        return message

    def ask(self, question: Message) -> Message:
        with self._asking:  # one question at a time, so that each reply belongs to it
            self.send({"ask": question})
            return self._replies.get()

    def send(self, message: Message) -> None:
        line = json.dumps({**message, CALL: self._call})
        with self._writing:
            self._out.write(line + "\n")
            self._out.flush()

    def _read(self) -> None:
        for line in self._in:
            message = json.loads(line)
            if "answer" in message or "refused" in message:
                self._replies.put(message)
            else:
                self._messages.put(message)
        self._messages.put(None)
        # The gateway is gone, so work that continues after this is orphaned.
        threading.Event().wait(EXIT_GRACE)
        os._exit(1)


def _described(error: Exception) -> Message:
    traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, AsgardError):
        return error.to_json()
    return {"type": type(error).__name__, "message": shortened(str(error), LONGEST_DETAIL)}
