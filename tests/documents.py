"""Reads documents as a reader uses them: commands to copy, and answers to compare."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
MORE = "…"
"""Stands for an omitted part of an answer."""
MARK = "\x1eblock "
CLUSTER = re.compile(r"\b(kubectl|helm|docker)\b")
WAY = "From nothing to a data product"
"""A section of docs/operations.md, which a test copies and runs."""
LOCAL = (
    "docs/guide.md",
    "docs/airbyte.md",
    "docs/data-transformation.md",
    "docs/dbt-transformations.md",
    "docs/data-products.md",
)
"""Documents whose commands need no cluster. They run on the embedded stack."""
ON_CLUSTER = ("docs/guide.md", "docs/operations.md", "helmchart/README.md")
"""Documents whose commands need a cluster. They run against an API server."""
COPIED = ("docs/operations.md", "docs/scripts.md")
"""Documents whose commands a test runs with everything that an operator has."""
NOT_COPIED = {
    ("README.md", "./script/demo.sh"): ".ci/run does, with --check",
    ("README.md", "api="): "tests/embedded/operations/test_newcomer.py, beside the demo",
    ("README.md", "curl "): "tests/embedded/operations/test_newcomer.py, beside the demo",
    (
        "CONTRIBUTING.md",
        "./script/setup.sh",
    ): "it makes what the tests run in, and .ci/run begins so",
    ("docs/guide.md", "./script/demo.sh"): ".ci/run does, with --check",
    ("docs/guide.md", "./script/setup.sh"): "it makes what the tests run in; every gateway "
    "of theirs is begun by `asgard serve`",
    ("docs/operations.md", "nessie="): "tests/integration/trino/test_trino_gateway.py, on a branch",
    ("docs/operations.md", "hash="): "tests/integration/trino/test_trino_gateway.py, on a branch",
    (
        "docs/scripts.md",
        "./script/production-test-dbt-api.sh",
    ): "deploying ends with the first; the "
    "second has an address that is nobody's: tests/embedded/operations/test_scripts.py has another",
}
"""Blocks that no test copies, by their beginning, with the reason or the test that covers them."""
VARIES = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])|\b\d{13,}\b"), "ID"),
    (re.compile(r"(localhost|127\.0\.0\.1):\d+"), "HOST"),
)
"""Parts of a text that differ between calls."""


@dataclass(frozen=True)
class Block:
    """A fenced block of commands, and the answer after it."""

    document: str
    section: str
    """The heading of the second level above it."""
    line: int
    commands: str
    answer: str | None

    @property
    def where(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(document: str, info: str = "bash") -> list[Block]:
    """Return the blocks in order. `console` blocks need more than a gateway or a cluster."""
    tokens = MarkdownIt().parse((ROOT / document).read_text())
    found: list[Block] = []
    section, before = "", None
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if (token.type, token.tag) == ("heading_open", "h2"):
            section = following.content if following else ""
        if token.type != "fence":
            continue
        if token.info == "json" and before is not None:
            found[-1] = replace(found[-1], answer=token.content)
        before = token if token.info == info else None
        if before is not None:
            line = (token.map or [0])[0] + 1
            found.append(Block(document, section, line, token.content, None))
    return found


def is_copied(block: Block) -> bool:
    if CLUSTER.search(block.commands):
        way = block.document in COPIED and block.section == WAY
        return way or block.document in ON_CLUSTER
    return block.document in (*LOCAL, *COPIED)


def told(
    found: Sequence[Block], folder: Path, environment: Mapping[str, str], seconds: float
) -> list[str]:
    """Return what each block printed. All run in one shell, so later ones use earlier variables.

    Nothing that they leave running outlives it.
    """
    script = "".join(f"printf '{MARK}'\n{block.commands}" for block in found)
    out, err = folder / "shell.out", folder / "shell.err"
    with out.open("w") as output, err.open("w") as errors:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    try:
        code = shell.wait(seconds)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    printed = out.read_text().split(MARK)[1:]
    where = found[len(printed) - 1].where
    assert code == 0, f"{where}: {err.read_text()[-3000:]}\n{printed[-1][-3000:]}"
    return printed


def untrue(found: Sequence[Block], printed: Sequence[str]) -> list[str]:
    """Return where the output differs from the document."""
    return [
        f"{block.where} {difference}"
        for block, text in zip(found, printed, strict=True)
        if block.answer is not None
        for difference in differences(json.loads(block.answer), json.loads(text))
    ]


def differences(shown: Any, seen: Any, at: str = "") -> Iterator[str]:
    """Return where an answer differs from the document. Ids, times, sizes and durations may differ:
    only their type is compared."""
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
