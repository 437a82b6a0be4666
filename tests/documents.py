"""Documents as a reader takes them: commands to copy, and answers to compare with one's own."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
MORE = "…"
"""In an answer that is shown: more of the same, left out."""
CLUSTER = re.compile(r"\b(kubectl|helm)\b")
VARIES = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])|\b\d{13,}\b"), "ID"),
    (re.compile(r"(localhost|127\.0\.0\.1):\d+"), "HOST"),
)
"""What differs from one call to the next, inside a text."""


@dataclass(frozen=True)
class Block:
    """A fenced block of commands, and the answer that is shown after it."""

    document: str
    line: int
    commands: str
    answer: str | None

    @property
    def where(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(document: str, info: str = "bash") -> list[Block]:
    """In their order. `console` is what needs more than a gateway or a cluster."""
    fences = [t for t in MarkdownIt().parse((ROOT / document).read_text()) if t.type == "fence"]
    found = []
    for fence, following in zip(fences, [*fences[1:], None], strict=True):
        if fence.info == info:
            answer = following.content if following and following.info == "json" else None
            line = (fence.map or [0])[0] + 1
            found.append(Block(document, line, fence.content, answer))
    return found


def differences(shown: Any, seen: Any, at: str = "") -> Iterator[str]:
    """Where an answer is not as it is shown. Ids and times differ always, sizes and durations may:
    of these only the type counts."""
    if isinstance(shown, dict) and isinstance(seen, dict):
        wanted = set(shown) - {MORE}
        if missing := wanted - set(seen):
            yield f"{at}: {sorted(missing)} missing"
        if MORE not in shown and (extra := set(seen) - wanted):
            yield f"{at}: {sorted(extra)} not shown"
        for key in [key for key in shown if key in wanted and key in seen]:
            yield from differences(shown[key], seen[key], f"{at}.{key}")
    elif isinstance(shown, list) and isinstance(seen, list):
        more = MORE in shown
        wanted_items = [item for item in shown if item != MORE]
        if len(seen) < len(wanted_items) or (len(seen) > len(wanted_items) and not more):
            yield f"{at}: {len(seen)} instead of {len(wanted_items)}"
        for number, (a, b) in enumerate(zip(wanted_items, seen, strict=False)):
            yield from differences(a, b, f"{at}[{number}]")
    elif _plain(shown, at) != _plain(seen, at):
        yield f"{at}: {seen!r} instead of {shown!r}"


def _plain(value: Any, at: str) -> Any:
    if isinstance(value, str):
        for varies, name in VARIES:
            value = varies.sub(name, value)
    elif isinstance(value, float) or (type(value) is int and "bytes" in at.rpartition(".")[2]):
        return "NUMBER"
    return value
