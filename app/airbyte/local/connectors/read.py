"""Runs one `read` of a connector into bronze Parquet files, in the worker process."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.airbyte.local.bronze_types import columns_of
from app.airbyte.local.bronze_writer import StreamWriter
from app.airbyte.local.connectors.process import Program, read
from app.airbyte.local.connectors.requested import NamedStream, RequestedStreams
from app.airbyte.local.stream_keys import GLOBAL, LEGACY, stream_key
from app.errors import EngineFailed
from app.redaction import Scope

Emit = Callable[[dict[str, Any]], None]

Writers = Mapping[NamedStream, StreamWriter]

PROGRESS_SECONDS = 2.0


@dataclass(frozen=True)
class ReadJob:
    """A read that the gateway requests. `catalog` holds configured streams as Airbyte defines
    them. A key names one of them: `namespace/name`."""

    program: Program
    config: dict[str, Any] = field(repr=False)
    catalog: dict[str, Any]
    state: str
    """In the connector's form: a list of states, or one of the legacy kind. Empty means none."""
    sync_id: str
    checkpoint_rows: int
    checkpoint_seconds: float


class ConnectorRead:
    """Emits `file` for every finished file. Emits `checkpoint` with a state once the emitted files
    hold its stream's records before that state, and none after it."""

    def __init__(self, job: ReadJob, emit: Emit) -> None:
        self._job = job
        self._emit = emit
        self._writers: dict[NamedStream, StreamWriter] = {}
        self._keys: dict[NamedStream, str] = {}
        self._incremental: set[str] = set()
        self._states: dict[str, Any] = {}
        """The last states that no checkpoint covers yet, by stream key, `global` or `legacy`."""
        self._reported_at = self._started_at = time.monotonic()
        self._checkpointed: dict[str, float] = {}
        for configured in job.catalog["streams"]:
            self._open(configured)
        self._requested = RequestedStreams(self._writers)

    def run(self) -> dict[str, Any]:
        job = self._job
        add = self._record
        count = 0
        for message in read(job.program, job.config, job.catalog, job.state, self._log):
            kind = message["type"]
            if kind == "RECORD":
                add(message["record"])
                count += 1
                if not count % 1000:
                    self._progress()
            elif kind == "STATE":
                self._state(message["state"])
            elif kind == "CONTROL":
                self._control(message["control"])
        self._finish()
        states = {key: _stored(state) for key, state in self._states.items()}
        return {"states": states, "rows": self._rows()}

    def _open(self, configured: dict[str, Any]) -> None:
        stream = configured["stream"]
        at = (stream.get("namespace"), stream["name"])
        key = stream_key(stream["name"], stream.get("namespace"))
        directory = self._job.program.directory / "out" / str(len(self._writers))
        directory.mkdir(parents=True)
        columns = columns_of(stream.get("json_schema") or {})
        self._writers[at] = StreamWriter(directory, columns, self._job.sync_id)
        self._keys[at] = key
        if configured["sync_mode"] == "incremental":
            self._incremental.add(key)

    def _record(self, record: dict[str, Any]) -> None:
        at = (record.get("namespace"), record["stream"])
        writer = self._writers.get(at)
        if writer is None:
            at = self._requested.of_record(at)
            writer = self._writers[at]
        writer.add(record["data"], record["emitted_at"])
        if writer.finished:
            self._emit_files(at)

    def _state(self, state: dict[str, Any]) -> None:
        """Handles a state. It covers what was read before it, of its stream or of all streams."""
        match state.get("type"):
            case "STREAM":
                described = state["stream"]["stream_descriptor"]
                at = self._requested.find((described.get("namespace"), described["name"]))
                if at is not None and self._keys[at] in self._incremental:
                    self._checkpoint(self._keys[at], state, {at: self._writers[at]})
            case "GLOBAL":
                self._checkpoint(GLOBAL, state, self._writers)
            case _:
                self._checkpoint(LEGACY, state.get("data"), self._writers)

    def _checkpoint(self, key: str, state: Any, writers: Writers) -> None:
        self._states[key] = state
        rows = sum(writer.pending_rows for writer in writers.values())
        waited = time.monotonic() - self._checkpointed.get(key, self._started_at)
        if rows >= self._job.checkpoint_rows or (rows and waited >= self._job.checkpoint_seconds):
            self._cut(writers)
            self._emit({"checkpoint": {key: _stored(self._states.pop(key))}})
            self._checkpointed[key] = time.monotonic()

    def _cut(self, writers: Writers) -> None:
        for at, writer in writers.items():
            writer.cut()
            self._emit_files(at)

    def _finish(self) -> None:
        """Closes the files. Everything is read now, so each last state covers all of its stream."""
        for at, writer in self._writers.items():
            if not writer.rows and self._keys[at] not in self._incremental:
                writer.write_empty()
        self._cut(self._writers)

    def _control(self, control: dict[str, Any]) -> None:
        if control.get("type") == "CONNECTOR_CONFIG":
            self._emit({"config": control["connectorConfig"]["config"]})

    def _emit_files(self, at: NamedStream) -> None:
        for file in self._writers[at].take_finished():
            self._emit({"file": {"stream": self._keys[at], **file.to_json()}})

    def _progress(self) -> None:
        now = time.monotonic()
        if now - self._reported_at >= PROGRESS_SECONDS:
            self._reported_at = now
            self._emit({"progress": self._rows()})

    def _rows(self) -> dict[str, int]:
        return {self._keys[at]: writer.rows for at, writer in self._writers.items()}

    def _log(self, text: str) -> None:
        self._emit({"log": text})


def job_of(message: dict[str, Any], program: Program) -> ReadJob:
    return ReadJob(
        program=program,
        config=message["config"],
        catalog={"streams": [_with_schema(stream) for stream in message["streams"]]},
        state=_protocol_state(message["states"]),
        sync_id=message["sync_id"],
        checkpoint_rows=message["checkpoint_rows"],
        checkpoint_seconds=message["checkpoint_seconds"],
    )


def _with_schema(configured: dict[str, Any]) -> dict[str, Any]:
    """Return a configured stream with its schema, which the gateway keeps as a text."""
    stream = configured["stream"]
    return {**configured, "stream": {**stream, "json_schema": json.loads(stream["json_schema"])}}


def _stored(state: Any) -> str:
    """Return a state as the text that the gateway keeps. Only a worker reads it again."""
    try:
        return json.dumps(state, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        raise EngineFailed(
            "The state of the connector cannot be stored: it is nested too deeply, or has numbers "
            "that JSON does not have."
        ) from None


def _protocol_state(states: Mapping[str, str]) -> str:
    """Return the stored states in the form in which the connector sent them."""
    if LEGACY in states:
        return states[LEGACY]
    texts = [states[GLOBAL]] if GLOBAL in states else states.values()
    return f"[{','.join(texts)}]" if texts else ""


def program_of(message: dict[str, Any]) -> Program:
    secrets = Scope()
    secrets.register_secrets(message.get("secrets", ()))
    return Program(Path(message["program"]), Path(message["directory"]), secrets)
