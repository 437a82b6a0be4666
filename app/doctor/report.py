"""What was seen of one thing, and how it is shown."""

import time
from asyncio import timeout
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.errors import AsgardError

Advice = str | Callable[[str], str]
"""What to do; a function of it is told what was seen."""
BUDGET = 5.0
"""Seconds that each check may take. One in a thread ends with its client's own time-out, which has
to be as short."""
SHORTEST_HIDDEN = 4
"""A shorter secret is part of too many words."""


@dataclass(frozen=True)
class CheckResult:
    what: str
    ok: bool
    said: str
    advice: str = ""
    is_warning: bool = False
    """To be looked at, though it keeps nothing from working."""


async def finding(what: str, check: Callable[[], Awaitable[str]], advice: Advice) -> CheckResult:
    """`advice` is for a failure that brings none of its own."""
    started = time.perf_counter()
    try:
        async with timeout(BUDGET):
            said = await check()
    except Exception as error:  # noqa: BLE001 — a doctor reports whatever it met
        said = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            said = f"no answer within {BUDGET:g} s"
        hint = error.hint if isinstance(error, AsgardError) else None
        return CheckResult(
            what, False, said, hint or (advice if isinstance(advice, str) else advice(said))
        )
    return CheckResult(what, True, f"{said} ({(time.perf_counter() - started) * 1000:.0f} ms)")


def show(findings: Iterable[CheckResult], secrets: Iterable[str]) -> int:
    """Prints a table; returns 0, or 1 when something does not work. No secret gets through."""
    hidden = [secret for secret in secrets if len(secret) >= SHORTEST_HIDDEN]
    table = Table()
    for title in ("check", "result", "what was seen", "what to do"):
        table.add_column(title, overflow="fold")
    is_well = True
    for found in findings:
        is_well = is_well and found.ok
        result = "[green]ok" if found.ok else "[red]failed"
        if found.is_warning:
            result = "[yellow]warning"
        advice = "" if found.ok and not found.is_warning else found.advice
        cells = [found.what, found.said, advice]
        for secret in hidden:
            cells = [cell.replace(secret, "**********") for cell in cells]
        what, said, advice = map(escape, cells)
        table.add_row(what, result, said, advice)
    Console().print(table)
    return 0 if is_well else 1
