"""The result of a check, and the table that shows all results."""

import time
from asyncio import timeout
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.errors import AsgardError

Advice = str | Callable[[str], str]
"""What to do about a failure, or a function that derives it from the message."""
BUDGET = 5.0
"""The seconds that each check may take. A check in a thread only ends with its client's timeout,
which must be as short."""
SHORTEST_HIDDEN = 4
"""Shorter secrets are not hidden: they are part of too many words."""


@dataclass(frozen=True)
class CheckResult:
    what: str
    ok: bool
    message: str
    advice: str = ""
    is_warning: bool = False
    """Whether it needs attention, although everything works."""


async def finding(what: str, check: Callable[[], Awaitable[str]], advice: Advice) -> CheckResult:
    """Run a check. `advice` applies to a failure without its own hint."""
    started = time.perf_counter()
    try:
        async with timeout(BUDGET):
            message = await check()
    except Exception as error:  # noqa: BLE001 — the doctor reports every error
        message = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            message = f"no response within {BUDGET:g} s"
        hint = error.hint if isinstance(error, AsgardError) else None
        return CheckResult(
            what, False, message, hint or (advice if isinstance(advice, str) else advice(message))
        )
    return CheckResult(what, True, f"{message} ({(time.perf_counter() - started) * 1000:.0f} ms)")


def show(results: Iterable[CheckResult], secrets: Iterable[str]) -> int:
    """Print a table without secrets. Return 0, or 1 if a check failed."""
    hidden = [secret for secret in secrets if len(secret) >= SHORTEST_HIDDEN]
    table = Table()
    for title in ("check", "result", "details", "what to do"):
        table.add_column(title, overflow="fold")
    all_ok = True
    for result in results:
        all_ok = all_ok and result.ok
        status = "[green]ok" if result.ok else "[red]failed"
        if result.is_warning:
            status = "[yellow]warning"
        advice = "" if result.ok and not result.is_warning else result.advice
        cells = [result.what, result.message, advice]
        for secret in hidden:
            cells = [cell.replace(secret, "**********") for cell in cells]
        what, message, advice = map(escape, cells)
        table.add_row(what, status, message, advice)
    Console().print(table)
    return 0 if all_ok else 1
