"""What a newcomer does, as README shows it: the demo, the calls, Ctrl-C, the demo again."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.documents import Block, blocks, told, untrue
from tests.ports import free_port

pytestmark = pytest.mark.timeout(400)

DEMO = Path(sys.executable).with_name("asgard")


@contextmanager
def demo(home: Path, port: int) -> Iterator[str]:
    """Yield the output once it serves. In the end, interrupt it like Ctrl-C."""
    process = subprocess.Popen(
        [DEMO, "demo"],
        env={**os.environ, "ASGARD_HOME": str(home), "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if "serves until Ctrl-C" in line:
            break
    assert process.poll() is None, output
    family = psutil.Process(process.pid).children(recursive=True)
    try:
        yield output
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, process.stdout.read()
        assert [child for child in family if child.is_running()] == []


def copied(port: int) -> list[Block]:
    """README's blocks of calls to the gateway, at this port."""
    return [
        replace(block, commands=block.commands.replace(":8000", f":{port}"))
        for block in blocks("README.md")
        if "curl" in block.commands
    ]


def rows_in(output: str) -> dict[str, str]:
    """Return the rows of each table in the demo's summary."""
    lines = re.findall(r"│ (bronze|silver|gold|data product) +│ (\S+) +│ +(\S+) │", output)
    return {f"{layer} {table}": rows for layer, table, rows in lines}


def test_the_demo_its_calls_and_the_demo_again(tmp_path: Path) -> None:
    port = free_port()
    with demo(tmp_path / "home", port) as output:
        first = rows_in(output)
        calls = copied(port)
        assert untrue(calls, told(calls, tmp_path, os.environ, 60)) == []
    with demo(tmp_path / "home", port) as output:
        again = rows_in(output)
    assert first["bronze flights"] == "336,776"
    assert again == first
