"""A connector may send messages of any size. Those that the gateway has to read are limited."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from app.airbyte.local.connectors.process import LONGEST_TEXT, Program, discover, messages
from app.errors import EngineFailed
from app.redaction import Scope

MIB = 2**20


def connector(directory: Path, code: str) -> Program:
    path = directory / "source"
    path.write_text(f"#!{sys.executable}\nimport json, sys\n{code}\n")
    path.chmod(0o700)
    secrets = Scope()
    secrets.register_secrets(["hide-me"])
    return Program(path, directory, secrets)


def output_of(directory: Path, message: dict[str, Any], long: str) -> tuple[list[Any], list[str]]:
    """Return the messages and the log. `LONG` in the message stands for the long text."""
    text = json.dumps(message)
    program = connector(directory, f"print({text!r}.replace('LONG', {long}))")
    log: list[str] = []
    return list(messages(program, ["read"], log.append)), log


def test_a_record_of_any_size_is_read(tmp_path: Path) -> None:
    received, _ = output_of(tmp_path, {"type": "RECORD", "record": "LONG"}, f"'r' * {9 * MIB}")
    assert received == [{"type": "RECORD", "record": "r" * 9 * MIB}]


@pytest.mark.parametrize("kind", ["STATE", "CATALOG", "CONTROL", "SPEC", "CONNECTION_STATUS"])
def test_a_large_message_for_the_gateway_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(EngineFailed, match=rf"sent a {kind} message of \d+ bytes: expected at"):
        output_of(tmp_path, {"type": kind, "content": "LONG"}, f"'s' * {9 * MIB}")


def test_the_start_of_a_long_log_line_is_retained_without_its_secrets(tmp_path: Path) -> None:
    long = f"'hide-me ' + 'l' * {MIB}"
    _, log = output_of(tmp_path, {"type": "LOG", "log": {"level": "INFO", "message": "LONG"}}, long)
    assert log == ["INFO " + ("*** " + "l" * MIB)[:LONGEST_TEXT]]


def test_the_start_of_a_long_line_that_is_not_a_message_is_retained(tmp_path: Path) -> None:
    log: list[str] = []
    program = connector(tmp_path, f"print('[' * {MIB}); print('e' * {MIB}, file=sys.stderr)")
    assert list(messages(program, ["read"], log.append)) == []
    assert sorted(log) == ["[" * LONGEST_TEXT, "e" * LONGEST_TEXT]


def test_the_start_of_a_long_error_is_retained(tmp_path: Path) -> None:
    error = {"message": "LONG", "internal_message": "LONG", "stack_trace": "LONG"}
    trace = {"type": "TRACE", "trace": {"type": "ERROR", "error": error}}
    with pytest.raises(EngineFailed) as failed:
        output_of(tmp_path, trace, f"'m' * {MIB}")
    assert re.fullmatch(
        r"The connector failed: m{3900,}… \(\d+ more characters\)", failed.value.detail
    )


def test_more_columns_than_a_response_can_have_are_refused(tmp_path: Path) -> None:
    columns = "{str(n): {} for n in range(100_001)}"
    catalog = f"dict(streams=[dict(name='s', json_schema=dict(properties={columns}))])"
    program = connector(tmp_path, f"print(json.dumps(dict(type='CATALOG', catalog={catalog})))")
    with pytest.raises(EngineFailed, match="have 100001 columns: expected at most 100000"):
        discover(program, {}, print)
