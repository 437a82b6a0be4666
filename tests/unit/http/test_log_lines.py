"""Log lines are readable on a terminal, and JSON elsewhere."""

import io
import json
import logging
import logging.config
import sys
from collections.abc import Iterator

import pytest
import structlog
import uvicorn.config

from app.telemetry.logs import configure_logging


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def configured_again() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def written(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> list[str]:
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging("INFO", ["hide-this-secret"])
    log = structlog.get_logger("app.tests")
    log.info("request", method="GET", path="/a b\x1b[2J", status=200, note="hide-this-secret")
    try:
        raise ValueError("broken\x1b[2J")
    except ValueError:
        log.exception("request_failed")
    return stream.getvalue().splitlines()


def test_a_terminal_gets_readable_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *traceback = written(monkeypatch, Terminal())
    assert first[8:].startswith(
        'Z info     request method=GET path="/a b\\u001b[2J" status=200 note='
    )
    assert second[8:] == "Z error    request_failed"
    assert traceback[0] == "    Traceback (most recent call last):"
    assert traceback[-1] == "    ValueError: broken\\u001b[2J"
    assert "hide-this-secret" not in first


def test_everything_else_gets_json(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.loads(line) for line in written(monkeypatch, io.StringIO())]
    assert [line["event"] for line in lines] == ["request", "request_failed"]
    assert lines[0]["status"] == 200
    assert [list(line)[:3] for line in lines] == [["timestamp", "level", "event"]] * 2
    assert "hide-this-secret" not in str(lines)


def test_lines_of_uvicorn_have_the_same_form_and_requests_are_logged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging("INFO", [])
    logging.getLogger("uvicorn.error").info("Application startup complete.")
    # Without handlers, uvicorn writes no line of its own for a request.
    assert not logging.getLogger("uvicorn.access").hasHandlers()
    [line] = stream.getvalue().splitlines()
    assert list(json.loads(line).items())[1:3] == [
        ("level", "info"),
        ("event", "Application startup complete."),
    ]
