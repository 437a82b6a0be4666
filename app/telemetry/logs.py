"""Structured logs: one line per event, with request and run ids. A terminal gets readable lines,
everything else JSON."""

import json
import logging
import sys
from collections.abc import Iterable
from typing import Any

import structlog
from structlog.typing import EventDict

from app.redaction import clean_json, register_secrets

RENDER = structlog.processors.JSONRenderer()
FIRST_FIELDS = ("timestamp", "level", "event")
"""The fields at the start of each line, so that a person can read the lines as they are."""
SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]
# One list for the whole process: a logger keeps the list from its first use, and a second
# configuration has to reach such a logger, too.
PROCESSORS: list[Any] = [*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter]


def configure_logging(level: str, secrets: Iterable[str]) -> None:
    """Send structlog's and the standard library's records to stderr, without these secrets and
    those that are registered later: as readable lines to a terminal, otherwise as JSON."""
    register_secrets(secrets)
    structlog.configure(
        processors=PROCESSORS,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _readable_line if sys.stderr.isatty() else _line,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for server in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        # Started without `asgard serve`, uvicorn writes lines of its own, one for each request.
        logging.getLogger(server).handlers = []
        logging.getLogger(server).propagate = server != "uvicorn.access"
    for noisy in ("botocore", "boto3", "urllib3", "pyiceberg", "httpx", "httpcore", "s3transfer"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def _line(logger: Any, name: str, event: EventDict) -> str:
    """Render a line without secrets, which exceptions and objects may also contain."""
    first = {field: event.pop(field) for field in FIRST_FIELDS if field in event}
    return clean_json(str(RENDER(logger, name, {**first, **event})))


def _readable_line(logger: Any, name: str, event: EventDict) -> str:
    """Render the same line for a person, with the traceback below it."""
    fields: dict[str, Any] = json.loads(_line(logger, name, event))
    time = str(fields.pop("timestamp", ""))[11:19]
    level = str(fields.pop("level", ""))
    happened = _printable(str(fields.pop("event", "")))
    traceback = str(fields.pop("exception", "")).splitlines()
    fields.pop("logger", None)
    shown = (f"{_printable(key)}={_value(value)}" for key, value in fields.items())
    line = " ".join((f"{time}Z", f"{level:<8}", happened, *shown))
    return "\n".join((line, *(f"    {_printable(part)}" for part in traceback)))


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if text and text.isprintable() and " " not in text else json.dumps(text)


def _printable(text: str) -> str:
    """Escape control characters: a terminal would obey them, and clients choose parts of logs."""
    return text if text.isprintable() else json.dumps(text)[1:-1]
