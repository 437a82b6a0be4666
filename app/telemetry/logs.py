"""Structured logs: one JSON line per event, with request and run ids."""

import logging
import sys
from collections.abc import Iterable
from typing import Any

import structlog
from structlog.typing import EventDict

from app.redaction import clean_json, register_secrets

RENDER = structlog.processors.JSONRenderer()
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
    """Send structlog's and the standard library's records to stderr as JSON lines, without these
    secrets and those that are registered later."""
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
                _line,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("botocore", "boto3", "urllib3", "pyiceberg", "httpx", "httpcore", "s3transfer"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def _line(logger: Any, name: str, event: EventDict) -> str:
    """Render a line without secrets, which exceptions and objects may also contain."""
    return clean_json(str(RENDER(logger, name, event)))
