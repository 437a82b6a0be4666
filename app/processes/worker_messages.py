"""Reads and checks the lines that a worker sends, without holding up the event loop.

The SQL, template or connector that a worker runs can make it send anything.
"""

import asyncio
import json
import re
from json import decoder, scanner
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from app.failure import FailureCause
from app.processes.worker_main import CALL

Message = dict[str, Any]

SHORT_LINE = 64 * 1024
"""Bytes. The event loop itself parses a line up to this size, in about a millisecond."""
MOST_PARTS = 400_000
"""Objects and lists in a line. Python's garbage collector stops everything while it visits them."""
MOST_MEMBERS = 100
MOST_SPANS = 1_000
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"
    rb"|(?P<lone>u[dD][89a-fA-F][\da-fA-F]{2})|.)"
)
"""An escape in JSON. Half of a pair of surrogates is valid there, but it is not a text."""
_PARAMETERS = frozenset({"self", "detail", "hint", "retry_after", "cause", "retryable"})


class WrongMessage(Exception):
    """The worker sent something that the protocol does not allow. The text describes it."""


def _no_parameters(members: Message) -> Message:
    if _PARAMETERS & members.keys():
        raise ValueError("the members of an error replace its own fields")
    return members


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Error(_Strict):
    type: str = ""
    problem: str | None = None
    message: str
    hint: str | None = None
    retry_after: Annotated[int, Field(ge=0)] | None = None
    members: Annotated[Message, Field(max_length=MOST_MEMBERS), AfterValidator(_no_parameters)] = (
        Field(default_factory=dict)
    )
    cause: Annotated[FailureCause, Field(strict=False)] | None = None
    retryable: bool = False


class _Line(_Strict):
    call: str = Field(alias=CALL)
    event: Message = Field(default_factory=dict)
    ask: Message = Field(default_factory=dict)
    error: _Error = _Error(type="", message="")
    result: Message = Field(default_factory=dict)
    ready: bool = True


class Span(_Strict):
    name: str
    span_id: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    parent_id: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    start: int
    end: int
    error: str | None


async def read_message(line: bytes) -> Message:
    """Return the message of a line. Raises `WrongMessage`."""
    if len(line) <= SHORT_LINE:
        return _checked(line, json.loads)
    return await asyncio.to_thread(_checked_in_turns, line)


def checked_spans(spans: Any) -> list[Message]:
    """Return the spans if they are valid. Raises `WrongMessage`."""
    if not isinstance(spans, list):
        raise WrongMessage("spans that are not a list")
    if len(spans) > MOST_SPANS:
        raise WrongMessage(f"more than {MOST_SPANS} spans")
    try:
        return [Span.model_validate(span).model_dump() for span in spans]
    except ValidationError as error:
        raise WrongMessage(f"a span with an invalid {_field(error)}") from None


def _checked_in_turns(line: bytes) -> Message:
    if line.count(b"[") + line.count(b"{") > MOST_PARTS:
        raise WrongMessage(f"a message of more than {MOST_PARTS} parts")
    return _checked(line, _InTurns().decode)


def _checked(line: bytes, parse: Any) -> Message:
    if b"\\ud" in line or b"\\uD" in line:
        line = _ESCAPE.sub(lambda match: b"?" if match["lone"] else match[0], line)
    try:
        message = parse(line.decode())
    except (ValueError, RecursionError):
        raise WrongMessage("a line that is not valid JSON") from None
    try:
        _Line.model_validate(message)
    except ValidationError as error:
        raise WrongMessage(f"a message with an invalid {_field(error)}") from None
    answer: Message = message
    return answer


def _field(error: ValidationError) -> str:
    return ".".join(map(str, error.errors(include_input=False)[0]["loc"])) or "form"


class _InTurns(json.JSONDecoder):
    """Python's own parser, with an outer loop that is not written in C. In a thread, it gives the
    event loop its turns. The C parser holds the interpreter's lock from the first byte to the
    last, in any thread."""

    def __init__(self) -> None:
        super().__init__()
        self.parse_object = decoder.JSONObject  # type: ignore[attr-defined]
        self.parse_array = decoder.JSONArray  # type: ignore[attr-defined]
        self.scan_once = scanner.py_make_scanner(self)  # type: ignore[attr-defined]
