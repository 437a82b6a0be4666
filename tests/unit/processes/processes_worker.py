"""The worker for test_processes.py. It prints wherever a library might."""

import json
import os
import sys
import threading
import time

from app.errors import EngineFailed, SqlNotParsed
from app.failure import FailureCause
from app.processes.worker_main import Emit, GatewayChannel, Handlers, Message, Refused, serve
from app.processes.worker_spans import span

print("noise while imported")


def open_worker(handshake: Message) -> Handlers:
    if "broken" in handshake:
        raise ValueError("cannot work like this")

    def echo(message: Message, emit: Emit) -> Message:
        print("noise in a handler")
        os.system("echo noise of a grandchild")  # noqa: S605
        return {"got": message["value"], "handshake": handshake, "stdin": sys.stdin.read()}

    def count(message: Message, emit: Emit) -> Message:
        for number in range(message["to"]):
            emit({"number": number})
        return {"counted": message["to"]}

    def fail(message: Message, emit: Emit) -> Message:
        raise SqlNotParsed("no such word", hint="try SELECT", position={"line": 2, "column": 7})

    def fail_engine(message: Message, emit: Emit) -> Message:
        raise EngineFailed("too big", cause=FailureCause.OUT_OF_MEMORY, retryable=True)

    def answer_early(message: Message, gateway: GatewayChannel) -> Message:
        gateway._channel.send({"error": {"problem": "engine-failed", "message": "early"}})
        return {"late": message["value"]}

    def die(message: Message, emit: Emit) -> Message:
        print("last words", flush=True)
        os._exit(7)

    def sleep(message: Message, emit: Emit) -> Message:
        emit({"pid": os.getpid()})
        time.sleep(600)
        return {}

    def grow(message: Message, emit: Emit) -> Message:
        held = [bytearray(b"x" * 2**20) for _ in range(message["megabytes"])]
        time.sleep(600)
        return {"held": len(held)}

    def ask(message: Message, gateway: GatewayChannel) -> Message:
        """Ask each of the questions in its own thread."""
        replies: list[Message] = []

        def asking(question: Message) -> None:
            try:
                replies.append(gateway.ask(question))
            except Refused as refused:
                replies.append({"refused": str(refused)})

        threads = [threading.Thread(target=asking, args=(one,)) for one in message["questions"]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"replies": replies}

    def ask_and_die(message: Message, gateway: GatewayChannel) -> Message:
        threading.Timer(0.1, os._exit, (7,)).start()
        return gateway.ask({"number": 1})

    def tell(message: Message, emit: Emit) -> Message:
        emit({"number": 1})
        with span("outer"), span("inner"):
            pass
        return {}

    def say(message: Message, emit: Emit) -> Message:
        print(message["text"], end="" if message["text"].endswith(" ") else "\n", flush=True)
        return {}

    def answer_with(message: Message, gateway: GatewayChannel) -> Message:
        """Write the line unchanged, except that `CALL` becomes the id of the call."""
        channel = gateway._channel
        line = message["line"].replace("CALL", json.dumps(channel._call)) * message.get("times", 1)
        channel._out.write(line + "\n")
        channel._out.flush()
        time.sleep(600)
        return {}

    return {
        "answer_with": answer_with,
        "say": say,
        "answer_early": answer_early,
        "ask": ask,
        "ask_and_die": ask_and_die,
        "tell": tell,
        "grow": grow,
        "echo": echo,
        "count": count,
        "fail": fail,
        "fail_engine": fail_engine,
        "die": die,
        "sleep": sleep,
    }


if __name__ == "__main__":
    serve(open_worker)
