"""Speaks the Airbyte protocol with one connector process. Runs in the worker process.

https://docs.airbyte.com/understanding-airbyte/airbyte-protocol: JSON lines on stdout. Other
lines there, and all of stderr, are log. The connector stays in the worker's process group, so
that killing the worker's group ends it too, and it dies with the worker.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

import app.processes.launch
from app.airbyte.local.bronze_types import MOST_COLUMNS_OF_SOURCE
from app.errors import EngineFailed
from app.failure import FailureCause
from app.redaction import Scope, clean, within

Message = dict[str, Any]
Log = Callable[[str], None]

PIPE_BYTES = 1024 * 1024
F_SETPIPE_SZ = 1031
GRACE_SECONDS = 5.0
LOG_LEVELS = frozenset({"FATAL", "ERROR", "WARN", "INFO"})
LONGEST_TEXT = 16 * 1024
"""Characters. The gateway's event loop handles log lines and errors, so the rest is cut off."""
LONGEST_LAST_LINE = 1000
LARGEST = {
    "CATALOG": 8 * 2**20,
    "CONNECTION_STATUS": 2**18,
    "CONTROL": 2**18,
    "SPEC": 2 * 2**20,
    "STATE": 2 * 2**20,
}
"""The maximum size in bytes of each kind of message that the gateway also reads. Records stay
here."""


@dataclass(frozen=True)
class Program:
    """An installed connector."""

    path: Path
    directory: Path
    """A private directory for its configuration, removed by the caller."""
    secrets: Scope = field(default_factory=Scope, repr=False)
    """Values that no text of the connector may show, in any spelling."""

    def write(self, name: str, content: Any) -> Path:
        return self.write_json(name, orjson.dumps(content))

    def write_json(self, name: str, content: bytes) -> Path:
        """A 0600 file: a configuration holds secrets."""
        path = self.directory / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return path

    def hide(self, text: str) -> str:
        """Mask the secrets in the text. Keep only the start of a very long text."""
        with within(self.secrets):
            return clean(text)[:LONGEST_TEXT]


def spec(program: Program, log: Log) -> Message:
    """Returns the connector's `connectionSpecification`: the JSON Schema of its configuration."""
    for message in messages(program, ["spec"], log):
        if message["type"] == "SPEC":
            specification: Message = message["spec"]["connectionSpecification"]
            return specification
    raise EngineFailed("The connector sent no SPEC message.")


def check(program: Program, config: Message, log: Log) -> Message:
    arguments = ["check", "--config", str(program.write("config.json", config))]
    for message in messages(program, arguments, log):
        if message["type"] == "CONNECTION_STATUS":
            status = message["connectionStatus"]
            text = program.hide(str(status.get("message") or ""))
            return {"succeeded": status["status"] == "SUCCEEDED", "message": text}
    raise EngineFailed("The connector sent no CONNECTION_STATUS message.")


def discover(program: Program, config: Message, log: Log) -> list[Message]:
    arguments = ["discover", "--config", str(program.write("config.json", config))]
    for message in messages(program, arguments, log):
        if message["type"] == "CATALOG":
            streams: list[Message] = message["catalog"]["streams"]
            _check_columns(streams)
            return streams
    raise EngineFailed("The connector sent no CATALOG message.")


def read(
    program: Program, config: Message, catalog: Message, state: str, log: Log
) -> Iterator[Message]:
    """Yields RECORD, STATE, CONTROL and TRACE messages as they arrive. `state` is JSON, or empty
    for none."""
    arguments = ["read", "--config", str(program.write("config.json", config))]
    arguments += ["--catalog", str(program.write("catalog.json", catalog))]
    if state:
        arguments += ["--state", str(program.write_json("state.json", state.encode()))]
    return messages(program, arguments, log)


def messages(program: Program, arguments: list[str], log: Log) -> Iterator[Message]:
    """Yields the messages. Raises `EngineFailed` with the connector's own words if it reports an
    error or exits with one. The process is gone when the iterator ends, for whatever reason."""
    process = _start(program, arguments)
    lines = _LastLines(process, program, log)
    failure: str | None = None
    kind = ""
    try:
        assert process.stdout is not None  # noqa: S101 — it is piped
        for line in process.stdout:
            message = _parsed(line)
            if message is None:
                lines.add(line.decode(errors="replace"))
                continue
            _check_size(message["type"], len(line))
            match message["type"]:
                case "LOG":
                    _log(message["log"], program, log)
                case "TRACE" if message["trace"].get("type") == "ERROR":
                    error = message["trace"].get("error") or {}
                    failure = program.hide(str(error.get("message") or "it gave no reason"))
                    kind = str(error.get("failure_type") or "")
                    log(program.hide(str(error.get("internal_message") or failure)))
                    if trace := error.get("stack_trace"):
                        log(program.hide(str(trace)))
                case _:
                    yield message
        code = process.wait()
    finally:
        _stop(process)
        tail = lines.close()
    if failure is not None:
        raise _failed(failure, kind)
    if code:
        raise _failed(f"it ended with exit code {code}. Its last lines: {tail or 'none'}", "")


def _start(program: Program, arguments: list[str]) -> subprocess.Popen[bytes]:
    options = json.dumps({"parent": os.getpid(), "limits": {}, "protocol": False})
    launch = [sys.executable, "-I", "-S", app.processes.launch.__file__, options]
    process = subprocess.Popen(
        [*launch, str(program.path), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=program.directory,
        env={
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "AIRBYTE_ENABLE_UNSAFE_CODE": "false",
            "PYTHONUNBUFFERED": "",
        },
        bufsize=PIPE_BYTES,
    )
    if sys.platform == "linux" and process.stdout is not None:
        with contextlib.suppress(OSError):  # an unprivileged user's pipes may be limited
            fcntl.fcntl(process.stdout.fileno(), F_SETPIPE_SZ, PIPE_BYTES)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _parsed(line: bytes) -> Message | None:
    try:
        message = orjson.loads(line)
    except orjson.JSONDecodeError:
        # Python's own encoder writes NaN and Infinity, which are not JSON.
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return None
    return message if isinstance(message, dict) and "type" in message else None


def _check_size(kind: Any, size: int) -> None:
    largest = LARGEST.get(kind) if isinstance(kind, str) else None
    if largest is not None and size > largest:
        raise EngineFailed(
            f"The connector sent a {kind} message of {size} bytes: expected at most {largest}."
        )


def _check_columns(streams: list[Message]) -> None:
    schemas = (stream.get("json_schema") or {} for stream in streams)
    columns = sum(len(schema.get("properties") or {}) for schema in schemas)
    if columns > MOST_COLUMNS_OF_SOURCE:
        raise EngineFailed(
            f"The connector's streams have {columns} columns: expected at most "
            f"{MOST_COLUMNS_OF_SOURCE}."
        )


def _log(entry: Message, program: Program, log: Log) -> None:
    if entry.get("level") in LOG_LEVELS:
        log(f"{entry['level']} {program.hide(str(entry.get('message')))}")


def _failed(message: str, kind: str) -> EngineFailed:
    if kind == "config_error":
        return EngineFailed(
            f"The connector refuses its configuration: {message}",
            cause=FailureCause.PERMISSION_DENIED,
            hint="Check the source (POST …/check) and create it again with a valid config.",
        )
    return EngineFailed(f"The connector failed: {message}", retryable=kind == "transient_error")


class _LastLines:
    """Logs stderr from a thread, and retains the last lines for the error message."""

    RETAINED = 20

    def __init__(self, process: subprocess.Popen[bytes], program: Program, log: Log) -> None:
        self._program = program
        self._log = log
        self._retained: list[str] = []
        assert process.stderr is not None  # noqa: S101 — it is piped
        self._thread = threading.Thread(
            target=self._follow, args=(process.stderr,), name="connector stderr", daemon=True
        )
        self._thread.start()

    def add(self, line: str) -> None:
        text = self._program.hide(line.rstrip())
        if text:
            self._retained = [*self._retained[-self.RETAINED + 1 :], text[:LONGEST_LAST_LINE]]
            self._log(text)

    def close(self) -> str:
        self._thread.join(GRACE_SECONDS)
        return "\n".join(self._retained)

    def _follow(self, stderr: IO[bytes]) -> None:
        with stderr:
            for line in stderr:
                self.add(line.decode(errors="replace"))
